#!/bin/sh
# Call as the tenants of examples/tenants.yaml, and see what each may do.
# Start a server first: make run ARGS="--config examples/tenants.yaml"
set -eu
server=${1:-http://localhost:8000}

ask() {
    curl -sS "$server/v1/completions" -H 'Content-Type: application/json' -d '{"prompt": "one two", "max_tokens": 2}' \
        -D - -o /dev/null "$@" | grep -iE '^(HTTP|x-ratelimit-remaining|retry-after:)' | tr -d '\r' | paste -sd ' ' -
}

echo "Nobody without a key:"
ask
echo "The tiny tenant, four times:"
for _ in 1 2 3 4; do
    ask -H 'Authorization: Bearer sk-tiny'
done
echo "Acme, with either key; every third request fails:"
for key in sk-acme-1 sk-acme-2 sk-acme-1; do
    ask -H "Authorization: Bearer $key"
done
echo "A guest, who may come once a second:"
for wait in 0 0 1; do
    sleep $wait
    ask -H 'Authorization: Bearer sk-guest'
done
echo "What became of the tiny tenant's requests:"
curl -sS "$server/admin/requests?tenant=tiny" | python3 -c '
import json, sys
for request in json.load(sys.stdin)["requests"]:
    print(request["number"], request["status"], request["outcome"])
'
echo "A fourth request a minute for it, from now on:"
curl -sS "$server/admin/config" -o /dev/null -w '%{http_code}\n' -d '{"tenants": [
    {"name": "tiny", "keys": ["sk-tiny"], "requests-per-minute": 4},
    {"name": "acme", "keys": ["sk-acme-1", "sk-acme-2"]}]}'
ask -H 'Authorization: Bearer sk-tiny'
