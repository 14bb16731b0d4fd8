#!/bin/sh
# Meet the failures of examples/failures.yaml, and see how often each rule has hit.
# Start a server first: make run ARGS="--config examples/failures.yaml"
set -eu
server=${1:-http://localhost:8000}
chat='{"messages": [{"role": "user", "content": "one two three four five"}], "stream": true}'

post() {
    path=$1
    shift
    curl -sS "$server$path" -H 'Content-Type: application/json' "$@" || echo "curl ends with status $?"
    echo
}

echo "Two completions are refused, the third is answered:"
for _ in 1 2 3; do
    post /v1/completions -d '{"prompt": "one two three"}' -o /dev/null -w '%{http_code}'
done
echo "The red team's second stream is cut off:"
post /v1/chat/completions -H 'X-Team: red' -d "$chat"
post /v1/chat/completions -H 'X-Team: red' -d "$chat"
echo "A key without quota:"
post /v1/chat/completions -H 'Authorization: Bearer sk-poor-1' -d "$chat"
echo "A pause of two seconds:"
post /v1/chat/completions -H 'X-Pause: yes' -d "$chat"
echo "A request that asks for its error:"
post /v1/chat/completions -H 'X-Return-Error: 418' -d "$chat"
echo "What has failed:"
curl -sS "$server/admin/failures"
echo
