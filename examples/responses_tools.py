"""Answer the calls of a model until it is done, with Responses and the official OpenAI SDK (pip install openai).

Start a server on this machine first, one that stores responses, so that each request need not repeat the conversation:
make run ARGS="--enable-responses-store --tool-call-extra-call-probability 100 --inter-token-latency 20ms"
"""

import json
import sys
from typing import Any

from openai import OpenAI

TOOLS: Any = [
    {
        "type": "function",
        "name": name,
        "description": f"Tells the {name} of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    for name in ("weather", "time", "population")
]


def main(address: str = "http://127.0.0.1:8000/v1") -> None:
    """Print what comes, answer each call with something, and go on until there is a message."""
    client = OpenAI(base_url=address, api_key="none")
    model = client.models.list().data[0].id
    question: Any = "What do you know of the cities you like?"
    earlier: str | None = None
    while True:
        with client.responses.stream(
            model=model,
            input=question,
            tools=TOOLS,
            previous_response_id=earlier,  # type: ignore[arg-type]
        ) as stream:
            for event in stream:
                if event.type == "response.output_item.added":
                    print(f"\n[{event.item.type}] {getattr(event.item, 'name', '')} ", end="")
                elif event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
                    print(event.delta, end="", flush=True)
            response = stream.get_final_response()
        usage = response.usage
        if usage is not None:
            print(f"\n{response.status}: {usage.input_tokens} tokens in, {usage.output_tokens} out")
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        earlier = response.id
        question = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": f"The {call.name} of {json.loads(call.arguments)['city']} is fine.",
            }
            for call in calls
        ]


if __name__ == "__main__":
    main(*sys.argv[1:])
