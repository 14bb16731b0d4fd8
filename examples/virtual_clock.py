"""Move a server's clock: whatever the machine does, the same requests take the same time.

Start a server whose time stands still:

    vllmsim --model m --clock virtual --seed 1 --time-to-first-token 200ms --inter-token-latency 20ms
    python examples/virtual_clock.py
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

SERVER = os.environ.get("VLLMSIM_URL", "http://127.0.0.1:8000")


def post(path: str, **body: Any) -> Any:
    """Send JSON, and wait for the answer."""
    data = json.dumps(body).encode()
    request = Request(SERVER + path, data, {"Content-Type": "application/json"})  # noqa: S310 - the user's
    with urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


def main() -> None:
    """Send a request every 50 ms of the server's time, and tell how long each took."""
    with urlopen(f"{SERVER}/admin/clock") as answer:  # noqa: S310
        before = json.load(answer)["requests"]
    with ThreadPoolExecutor(10) as threads:
        answers = []
        for number in range(1, 11):
            # They wait for their time to come, and their order is known, as each is in before the next is sent.
            answers.append(threads.submit(post, "/v1/completions", prompt=f"Number {number}", max_tokens=number))
            post("/admin/clock/advance", seconds=0.05, requests=before + number)
        end = post("/admin/clock/run-until-idle")["now"]
        for each in answers:
            each.result()
    with urlopen(f"{SERVER}/admin/requests?after={before}") as answer:  # noqa: S310
        for record in json.load(answer)["requests"]:
            print(f"{record['generated_tokens']:3} tokens in {record['times']['finished']:.3f} s")
    print(f"It is {end:.3f} s on the clock.")


if __name__ == "__main__":
    main()
