"""A hub of models in memory: two small files of its own, and a large one on another server."""

import hashlib
import json
from typing import Any

from tests.downloading.fakeweb import FakeWeb, Served

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKENIZER = json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}).encode()
CONFIG = b'{"tokenizer_class": "PreTrainedTokenizerFast"}'
HUB = "hub.test"
ENDPOINT = f"http://{HUB}"
CDN = "cdn.test/blob"


def git_tag(content: bytes) -> str:
    """Make the entity tag of a small file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def put_model(web: FakeWeb, model: str = "org/model", revision: str = "main") -> None:
    """Put a model on the hub, under a revision and its commit."""
    told = {"X-Repo-Commit": COMMIT}
    missing: Any = (404, {"X-Error-Code": "EntryNotFound", **told})
    large = hashlib.sha256(TOKENIZER).hexdigest()
    linked = {"Location": f"http://{CDN}", "X-Linked-Etag": f'"{large}"', "X-Linked-Size": str(len(TOKENIZER)), **told}
    for name in ("special_tokens_map.json", "generation_config.json", "config.json", "chat_template.jinja"):
        web.files[where(model, COMMIT, name)] = missing
    for each in (revision, COMMIT):
        web.files[where(model, each, "tokenizer.json")] = (302, linked)
        web.files[where(model, each, "tokenizer_config.json")] = Served(CONFIG, f'W/"{git_tag(CONFIG)}"', headers=told)
    web.files[CDN] = Served(TOKENIZER, '"cdn"')


def where(model: str, revision: str, name: str) -> str:
    """Say where a file of a model is."""
    return f"{HUB}/{model}/resolve/{revision.replace('/', '%2F')}/{name}"
