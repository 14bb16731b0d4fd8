#!/bin/sh
# Have two servers share prefix hits through a Redis server: the second finds what the first has computed.
# Start three first, each in a terminal of its own:
#   redis-server
#   make run ARGS="--enable-kvcache --kv-cache-backend redis://localhost --enable-prompt-tokens-details --port 8000"
#   make run ARGS="--enable-kvcache --kv-cache-backend redis://localhost --enable-prompt-tokens-details --port 8001"
set -eu
first=${1:-http://localhost:8000}
second=${2:-http://localhost:8001}
prompt=$(seq -s ' ' 1 100)

ask() {
    curl -fsS "$1/v1/completions" -H 'Content-Type: application/json' -d "{\"prompt\": \"$prompt\", \"max_tokens\": 4}" |
        grep -o '"usage":.*cached_tokens":[^,]*'
}

echo "The first server computes the prompt:"
ask "$first"
sleep 0.2
echo "The second has most of it from outside:"
ask "$second"
curl -fsS "$second/metrics" | grep -E '^vllm:external_prefix_cache_(queries|hits)_total|^vllmsim:kv_backend_up'
echo "Next time it has that itself:"
ask "$second"
curl -fsS "$second/metrics" | grep -E '^vllm:prompt_tokens_by_source_total'
