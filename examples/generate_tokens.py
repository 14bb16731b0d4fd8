"""Answer a chat in the three steps of disaggregated serving, on a server on this machine: make run.

A request is rendered to token ids, these are generated from, and what was generated becomes an answer again. In a
deployment each step is another server's; give their addresses in this order to try that.
"""

import json
import sys
import urllib.request
from typing import Any

CHAT = {"messages": [{"role": "user", "content": "What happens to a token on its way?"}], "max_tokens": 40}
HERE = "http://127.0.0.1:8000"


def post(url: str, body: Any) -> Any:
    """Send JSON and read the answer."""
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:  # noqa: S310 - the user's
        return json.load(response)


def main(render: str = HERE, generate: str = HERE, derender: str = HERE) -> None:
    """Print what each step makes."""
    request = post(f"{render}/v1/chat/completions/render", CHAT)
    prompt = request["token_ids"]
    print(f"{len(prompt)} prompt tokens: {prompt}")
    generated = post(f"{generate}/inference/v1/generate", request)
    ids = generated["choices"][0]["token_ids"]
    print(f"{len(ids)} generated: {ids}")
    body = {"generate_response": generated, "chat_request": CHAT, "prompt_tokens": len(prompt)}
    answer = post(f"{derender}/v1/chat/completions/derender", body)
    print(answer["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main(*sys.argv[1:])
