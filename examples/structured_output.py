"""Get an answer that is an object of your own class.

Start the daemon with ``make run``, then run this with the openai package installed.
"""

from typing import Literal

from openai import OpenAI
from pydantic import BaseModel, Field


class Forecast(BaseModel):
    """What the answer must be."""

    city: str = Field(min_length=2)
    degrees: float = Field(ge=-40, le=50)
    sky: Literal["clear", "cloudy", "raining"]


client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
answer = client.chat.completions.parse(
    model=client.models.list().data[0].id,
    messages=[{"role": "user", "content": "How is the weather?"}],
    response_format=Forecast,
)
print(repr(answer.choices[0].message.parsed))
