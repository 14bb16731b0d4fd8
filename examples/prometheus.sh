#!/bin/sh
# Watch a running server with Prometheus and the rules of etc/prometheus, and print every ten seconds what they record
# and which alerts fire. Stop it with Ctrl-C; what it has stored goes with it.
# Start a server first: make run. It needs Prometheus (on Debian: apt install prometheus).
set -eu
server=${1:-localhost:8000}
listen=${2:-localhost:9090}
rules=$(cd "$(dirname "$0")/../etc/prometheus" && pwd)
folder=$(mktemp -d)
prometheus=

finish() {
    [ -z "$prometheus" ] || kill "$prometheus" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The example's configuration, for this server and more often; nobody probes here whether it is ready.
sed -e "s|localhost:8000|$server|" -e "s|^  - vllm|  - $rules/vllm|" -e 's|15s|1s|' -e '/job_name: readiness/,$d' \
    "$rules/prometheus.yml" >"$folder/prometheus.yml"
prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" --web.listen-address="$listen" \
    --log.level=warn &
prometheus=$!
echo "http://$listen/graph asks what you like, http://$listen/alerts has all alerts."

ask() {
    echo "$1:"
    promtool query instant "http://$listen" "$2" | sed 's/^/    /'
}

sleep 10
while kill -0 "$prometheus"; do
    date
    ask "Requests that run" model:vllm_num_requests_running:sum
    ask "Requests that wait" model:vllm_num_requests_waiting:sum
    ask "Generated tokens per second" model:vllm_generation_tokens:rate5m
    ask "Time to first token, 95th percentile" model:vllm_time_to_first_token_seconds:p95
    ask "Inter-token latency, 95th percentile" model:vllm_inter_token_latency_seconds:p95
    ask "KV cache usage" model:vllm_kv_cache_usage_perc:max
    ask "Alerts" 'ALERTS{alertname=~"Vllm.*"}'
    sleep 10
done
