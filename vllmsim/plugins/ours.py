# -*- test-case-name: tests.plugins.test_registry -*-
"""What the program has of its own at each seam, by name: nobody looks for plugins to find these.

They are made in :mod:`vllmsim.assembly`, which knows what they are made of, and provide the interfaces that those of
plugins provide.
"""

from collections.abc import Mapping
from typing import Final

from vllmsim.interfaces.plugins import (
    IBlockEventPublisherFactory,
    IFactory,
    IFailureFactory,
    ILatencyModelFactory,
    IMiddlewareFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    ITokenizerFactory,
)

OURS: Final[Mapping[type[IFactory], Mapping[str, str]]] = {
    IResponseSourceFactory: {
        "random": "Says sentences at random.",
        "echo": "Repeats the request's own last message.",
    },
    ILatencyModelFactory: {
        "constant": "Takes the same time to the first token, however long the prompt is.",
        "per-token": "Takes time to the first token for each token of the prompt that is not cached.",
    },
    IStepTimeFactory: {
        "linear": "Adds up a constant, and something for each token, each sequence and each token that is read.",
        "roofline": "Finds what a model and a device come to.",
        "profile": "Interpolates steps that were measured.",
    },
    ITokenizerFactory: {
        "words": "Cuts at words.",
        "builtin": "Cuts bytes by a vocabulary that comes with the program.",
        "remote": "Asks a render service.",
    },
    IFailureFactory: {},
    IBlockEventPublisherFactory: {
        "zmq": "Publishes at a ZeroMQ socket.",
        "null": "Publishes nothing.",
    },
    IMiddlewareFactory: {
        "access-log": "Logs a line for each request.",
        "log-http": "Logs requests and responses with headers and bodies.",
        "request-id": "Sends X-Request-Id with every answer.",
        "api-key": "Asks for API keys, and finds tenants.",
        "cors": "Tells browsers which pages may call.",
        "rate-limit": "Limits requests and tokens per minute.",
    },
}
"""By seam and name, what each is for."""
