"""Count the tokens of a prompt and its answer, and compare with a server: make run ARGS="--tokenizer builtin".

The tokenizer that comes with vllmsim is a model's folder like any other. With a model of your own, start the server
with --model FOLDER and give that folder to this script.
"""

import json
import sys
import urllib.request
from importlib.resources import files
from typing import Any

from tokenizers import Tokenizer

BUILTIN = str(files("vllmsim.tokenization") / "builtin")
PROMPT = "Count my tokens: дождь, 雨, pluie, \U0001f327."


def post(url: str, body: Any) -> Any:
    """Send JSON and read the answer."""
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:  # noqa: S310 - the user's
        return json.load(response)


def main(folder: str = BUILTIN, address: str = "http://127.0.0.1:8000") -> None:
    """Print what each side counts."""
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    answer = post(f"{address}/v1/completions", {"prompt": PROMPT, "max_tokens": 24, "ignore_eos": True})
    said = answer["choices"][0]["text"]
    print(said)
    for what, here, there in (
        ("prompt", len(tokenizer.encode(PROMPT)), answer["usage"]["prompt_tokens"]),
        ("answer", len(tokenizer.encode(said, add_special_tokens=False)), answer["usage"]["completion_tokens"]),
    ):
        print(f"{what}: {here} tokens counted here, {there} by the server")


if __name__ == "__main__":
    main(*sys.argv[1:])
