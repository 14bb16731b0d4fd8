#!/bin/sh
# Change a running server: slower, then as it was; then have it read its file again.
# Usage: live_configuration.sh [SERVER]; VLLMSIM_ADMIN_API_KEY has the key, if the server was started with one.
set -eu
server=${1:-http://localhost:8000}

admin() {
    curl -fsS "$server/admin/config$1" -H 'Content-Type: application/json' \
        ${VLLMSIM_ADMIN_API_KEY:+-H "Authorization: Bearer $VLLMSIM_ADMIN_API_KEY"} ${2:+-d "$2"} |
        python3 -c "
import json, sys
shown = json.load(sys.stdin)
names = 'time-to-first-token', 'inter-token-latency', 'failure-injection-rate'
print(*(f'{name}: {shown[name]}' for name in names) if 'seed' in shown else [json.dumps(shown, indent=1)], sep='\n')
"
}

echo "--- slower, and 5 % of the requests fail"
admin "" '{"time-to-first-token": "500ms", "inter-token-latency": 50, "failure-injection-rate": 5}'
time curl -fsS "$server/v1/completions" -H 'Content-Type: application/json' -d '{"prompt": "Hello", "max_tokens": 10}' || true
echo
echo "--- as it was"
admin /undo '{}'
echo "--- what happened"
admin /history
