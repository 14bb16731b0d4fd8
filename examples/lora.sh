#!/bin/sh
# Load a LoRA adapter into a running server, use it, and unload it again.
# Start one first: make run
set -eu
server=${1:-http://localhost:8000}

post() {
    curl -fsS "$server$1" -H 'Content-Type: application/json' -d "$2"
    echo
}

post /v1/load_lora_adapter '{"lora_name": "sql-lora", "lora_path": "/loras/sql"}'
curl -fsS "$server/v1/models"
echo
post /v1/completions '{"model": "sql-lora", "prompt": "SELECT", "max_tokens": 8}'
post /v1/unload_lora_adapter '{"lora_name": "sql-lora"}'
