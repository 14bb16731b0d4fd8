#!/bin/sh
# Make an authority and certificates, start a server that wants them, and replace its certificate while it streams.
# Needs openssl and curl; starts its own server, on port 8443 unless told otherwise: examples/tls.sh 9443
set -eu
port=${1:-8443}
folder=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; wait "$server" || true; fi; rm -rf "$folder"' EXIT
cd "$folder"

certify() { # NAME [EXTENSION]: a key and a certificate, signed by the authority
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
    printf '%s\n' "${2:-}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
}

ask() { curl -fsS --cacert ca.pem --cert router.pem --key router.key "$@"; }

shown() {
    openssl s_client -connect "localhost:$port" -cert router.pem -key router.key </dev/null 2>/dev/null |
        openssl x509 -noout -subject -serial
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=Lab authority" \
    -keyout ca.key -out ca.pem 2>/dev/null
certify first "subjectAltName=DNS:localhost"
certify second "subjectAltName=DNS:localhost"
certify router
cp first.pem server.pem
cp first.key server.key

vllmsim --host localhost --port "$port" --inter-token-latency 100ms --mode echo --ssl-certfile server.pem --ssl-keyfile server.key \
    --ssl-ca-certs ca.pem --ssl-cert-reqs 2 >log 2>&1 &
server=$!
for _ in $(seq 100); do
    if ask "https://localhost:$port/health" 2>/dev/null; then break; fi
    sleep 0.1
done

echo
echo "Who has no certificate is refused:"
curl -sS --cacert ca.pem "https://localhost:$port/health" || true
shown

echo "A stream goes on while the certificate is replaced:"
ask -N "https://localhost:$port/v1/completions" -H 'Content-Type: application/json' \
    -d '{"stream": true, "max_tokens": 50, "prompt": "'"$(seq -s ' ' 50)"'"}' >stream &
stream=$!
sleep 1
mv second.pem server.pem
mv second.key server.key
sleep 2.5
shown
wait "$stream"
tail -n 2 stream
grep 'new connections have' log
