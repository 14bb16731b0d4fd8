#!/bin/sh
# Make a database of the conversations beside this script, serve it on port 8000, and stop with ctrl-C.
# Then ask: curl localhost:8000/v1/completions -H 'Content-Type: application/json' -d '{"prompt": "Once upon a time"}'
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Not every shell does that when a signal ends it.
trap 'exit 130' INT HUP
vllmsim-dataset "$(dirname "$0")/conversations.jsonl" --output-path "$folder" --output-file example "$@"
vllmsim --dataset-path "$folder/example.sqlite3"
