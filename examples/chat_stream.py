"""Stream a chat answer with the official OpenAI SDK (pip install openai) from a server on this machine.

Start one first, at the pace of a model: make run ARGS="--time-to-first-token 200ms --inter-token-latency 20ms"
"""

import sys
import time
from itertools import pairwise

from openai import OpenAI


def main(address: str = "http://127.0.0.1:8000/v1") -> None:
    """Print the answer as it comes, then when its tokens came."""
    client = OpenAI(base_url=address, api_key="none")
    begin = time.monotonic()
    times: list[float] = []
    for chunk in client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": "Tell me about your latency."}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.monotonic() - begin)
            print(chunk.choices[0].delta.content, end="", flush=True)
        if chunk.usage:
            gaps = [after - before for before, after in pairwise(times)] or [0.0]
            print(
                f"\n\nfirst token after {times[0] * 1000:.0f} ms, then one every {sum(gaps) / len(gaps) * 1000:.1f} ms"
            )
            print(f"{chunk.usage.prompt_tokens} prompt tokens, {chunk.usage.completion_tokens} generated")


if __name__ == "__main__":
    main(*sys.argv[1:])
