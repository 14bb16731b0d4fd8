"""An hour of mixed load: ``python -m tests.soak --seconds 3600 --seed 7 --rate 60``."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.soak.report import report
from tests.soak.soak import Soak


def main() -> int:
    """Soak a server, and say how it was."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long")
    parser.add_argument("--seed", type=int, default=7, help="what everything random begins with")
    parser.add_argument("--rate", type=float, default=60.0, help="requests in a second")
    parser.add_argument("--folder", help="where files go, and stay; else one that is removed")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(words.folder or folder), words.seconds, words.seed, words.rate)
        asyncio.run(soak.run())
    text, good = report(soak)
    sys.stdout.write(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
