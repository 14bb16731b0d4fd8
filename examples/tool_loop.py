"""Let the simulated model call a tool until it answers in text.

Start the daemon with ``make run``, then run this with the openai package installed.
"""

import json
from typing import Any

from openai import OpenAI

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
        },
    },
}

client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
model = client.models.list().data[0].id
messages: list[Any] = [{"role": "user", "content": "Will it rain?"}]
while True:
    answer = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER], tool_choice="auto")
    message = answer.choices[0].message
    messages.append(message)
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        asked = json.loads(call.function.arguments)
        print(f"{call.function.name}({asked})")
        result = f"{asked['days']} dry days in {asked['city']}"
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(message.content)
