"""Be the router before a prefill server and a decode server, as llm-d's and vLLM's proxies are.

Start both first, each in a terminal of its own, then this, and send requests to port 9000:

    make run ARGS="--port 8100 --enable-kvcache --zmq-endpoint '' --time-to-first-token 500ms"
    make run ARGS="--port 8200 --enable-kvcache --zmq-endpoint '' --kv-cache-transfer-time-per-token 1ms \
        --enable-prompt-tokens-details"
    .venv/bin/python examples/pd_proxy.py

Its arguments are where to listen (a port, or an address and a port) and the two servers.
"""

import json
import sys
from typing import Any

import treq
from klein import Klein
from twisted.web.http import OK
from twisted.web.iweb import IRequest

app = Klein()
address, prefill, decode = sys.argv[1:] or ("9000", "http://127.0.0.1:8100", "http://127.0.0.1:8200")
PASSED_ON = ("x-request-id", "authorization", "traceparent", "tracestate")
UNWANTED = ("max_completion_tokens", "stream_options", "stream", "min_tokens")
ONE_TOKEN = {"max_tokens": 1, "max_output_tokens": 1}


async def send(request: IRequest, server: str, body: Any) -> Any:
    """Send a body to the same route of a server, with the client's id and key, and as a part of its trace."""
    headers = {name: request.requestHeaders.getRawHeaders(name, []) for name in PASSED_ON}
    return await treq.post(server + request.uri.decode(), json=body, headers=headers, unbuffered=True)


@app.route("/v1/", branch=True, methods=["POST"])
async def route(request: IRequest) -> None:
    """Have one server compute the prompt, and the other answer with what the first says of its blocks."""
    body = json.load(request.content)
    first = {name: value for name, value in body.items() if name not in UNWANTED} | ONE_TOKEN
    answer = await send(request, prefill, first | {"kv_transfer_params": {"do_remote_decode": True}})
    if answer.code == OK:
        handed_over = (await answer.json())["kv_transfer_params"]
        answer = await send(request, decode, body | {"kv_transfer_params": handed_over})
    request.setResponseCode(answer.code)
    request.setHeader("content-type", answer.headers.getRawHeaders("content-type")[0])
    await answer.collect(request.write)


host, _, port = address.rpartition(":")
app.run(host or "127.0.0.1", int(port))
