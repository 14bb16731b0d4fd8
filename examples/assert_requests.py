"""A test, for pytest, of what a client really sends, and what becomes of it (pip install openai pytest).

Start a server first that has room for one request and lets nobody wait, so that the client has to try again:

    make run ARGS="--max-num-seqs 1 --max-waiting-queue-length 0 --time-to-first-token 300ms"
    pytest examples/assert_requests.py
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

from openai import OpenAI

# What a test looks like
SERVER = os.environ.get("VLLMSIM_URL", "http://127.0.0.1:8000")


def requests(query: str) -> list[dict[str, Any]]:
    """Ask the server which requests came."""
    with urlopen(f"{SERVER}/admin/requests?{query}") as answer:  # noqa: S310 - the user's
        listed: list[dict[str, Any]] = json.load(answer)["requests"]
    return listed


def test_retries() -> None:
    """A client that finds no room tries again by itself, with the same words."""
    urlopen(Request(f"{SERVER}/admin/requests", method="DELETE")).close()  # noqa: S310
    client = OpenAI(base_url=f"{SERVER}/v1", api_key="none", max_retries=5)
    model = client.models.list().data[0].id

    def ask(name: str) -> str | None:
        message = {"role": "user", "content": f"I am {name}."}
        answer = client.chat.completions.create(model=model, messages=[message], max_tokens=5, temperature=0)
        return answer.choices[0].message.content

    with ThreadPoolExecutor(2) as threads:
        assert all(threads.map(ask, ("Ann", "Bob")))

    answered = requests("wait_for=2&timeout=5&outcome=completed&route=/v1/chat/completions")
    refused = requests("outcome=refused&bodies=true")
    assert [each["sampling"] for each in answered] == [{"max_tokens": 5, "temperature": 0.0}] * 2
    assert refused, "there was room for both"
    assert {each["status"] for each in refused} == {429}
    for each in refused:
        assert each["body"]["messages"][0]["content"] in {"I am Ann.", "I am Bob."}
    assert answered[-1]["headers"]["x-stainless-retry-count"] == str(len(refused))


# Until here
if __name__ == "__main__":
    test_retries()
    print("as it should be")
