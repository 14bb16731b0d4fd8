"""Have a model think and call a tool, with the official Anthropic SDK (pip install anthropic), and stream all of it.

Start a server on this machine first, one that reasons and likes to call:
make run ARGS="--reasoning-parser qwen3 --tool-call-extra-call-probability 100 --inter-token-latency 20ms"
"""

import sys
from typing import Any

from anthropic import Anthropic

WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def main(address: str = "http://127.0.0.1:8000") -> None:
    """Print what comes, answer calls with sunshine, and go on until the model is content."""
    client = Anthropic(base_url=address, api_key="none")
    model = client.models.list().data[0].id
    messages: list[Any] = [{"role": "user", "content": "What is the weather like?"}]
    while True:
        with client.messages.stream(model=model, max_tokens=300, messages=messages, tools=[WEATHER]) as stream:
            for event in stream:
                if event.type == "content_block_start":
                    print(f"\n[{event.content_block.type}] ", end="")
                elif event.type == "thinking":
                    print(event.thinking, end="", flush=True)
                elif event.type == "text":
                    print(event.text, end="", flush=True)
                elif event.type == "input_json":
                    print(event.partial_json, end="", flush=True)
            answer = stream.get_final_message()
        print(f"\n{answer.stop_reason}: {answer.usage.input_tokens} tokens in, {answer.usage.output_tokens} out")
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            break
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]


if __name__ == "__main__":
    main(*sys.argv[1:])
