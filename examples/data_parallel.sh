#!/bin/sh
# Use two ranks that have a process each; then one of them crashes, and comes back.
# Start them first: make run ARGS="--data-parallel-size 2 --data-parallel-processes"
set -eu
host=${1:-http://localhost}

health() {
    curl -sS -o /dev/null -w "$1: /health of the supervisor is %{http_code}\n" "$host:9256/health"
}

until_well() {
    until curl -fs "$host:9256/health"; do
        sleep 0.2
    done
}

until_well
health "Both ranks serve"
for port in 8000 8001; do
    curl -fsS "$host:$port/v1/completions" -H 'Content-Type: application/json' -d '{"prompt": "Hello", "max_tokens": 4}'
    echo
    curl -fsS "$host:$port/metrics" | grep vllm:generation_tokens_total
done

kill -KILL "$(pgrep -n -f 'vllmsim\.scripts\.rank 1$')"
sleep 0.2
health "Rank 1 has crashed"
until_well
health "It is back"
