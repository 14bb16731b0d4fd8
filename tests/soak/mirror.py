"""Keeps a picture of a rank's KV cache by its events: ``python -m tests.soak.mirror ENDPOINT REPLAY_ENDPOINT``.

When its standard input ends it takes what is left, and says which blocks there are.
"""

import json
import select
import sys
import time

from tests.integration.kv_subscriber import Picture, Subscriber


def main(endpoint: str, replay_endpoint: str) -> None:
    """Take all events."""
    picture = Picture(maps=False)
    subscriber = Subscriber(picture, endpoint, replay_endpoint)
    # What was published before the live stream reached us is not in it.
    time.sleep(0.5)
    subscriber.catch_up()
    while not select.select([sys.stdin], [], [], 0)[0]:
        subscriber.read(100)
        subscriber.drain()
    subscriber.catch_up()
    subscriber.close()
    blocks = sorted(int(each) for each in picture.blocks.elements())
    told = {"batches": picture.next, "lost": picture.lost, "events": picture.events, "blocks": blocks}
    print(json.dumps(told))  # noqa: T201 - it is a program


if __name__ == "__main__":
    main(*sys.argv[1:])
