"""Sends requests to data-parallel ranks: one of its choice, and whichever has the least to do.

Start the server first: make run ARGS="--data-parallel-size 2 --data-parallel-internal-lb"
"""

import re
import sys
from urllib.request import urlopen

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
client = OpenAI(base_url=f"{url}/v1", api_key="none")
model = client.models.list().data[0].id


def served() -> dict[str, int]:
    """Count the prompts that each rank has served."""
    with urlopen(f"{url}/metrics") as answer:  # noqa: S310 - an address of your own
        page = answer.read().decode()
    samples = re.findall(r'^vllm:request_params_n_count{engine="(\d+)".*} (.+)$', page, re.MULTILINE)
    return {engine: int(float(value)) for engine, value in samples}


print("before:", served())
for _ in range(4):
    client.completions.create(model=model, prompt="Hello", max_tokens=8, extra_headers={"X-data-parallel-rank": "1"})
print("after 4 requests to rank 1:", served())
for _ in range(4):
    client.completions.create(model=model, prompt="Hello", max_tokens=8)
print("after 4 more to any:", served())
