"""A load generator: it streams completions from a server and writes what ``vllm bench serve`` would have written."""

import json
import random
import threading
from collections.abc import Sequence
from itertools import pairwise

from tests.integration.daemon import PATIENCE
from vllmsim.scripts.clock.client import Client, Stream

_SECONDS = 1e-9


class Load:
    """Requests with random prompts, some of them at a time.

    :param port: of the loopback address.
    :param model: whose answers are wanted.
    :param asked: lengths of prompts and answers.
    """

    def __init__(self, port: int, model: str, asked: Sequence[tuple[int, int]], seed: int) -> None:
        self._port, self._model, self._asked = port, model, asked
        self._generator = random.Random(seed)
        self._left = [self._request(*each) for each in asked][::-1]
        self._streams: list[Stream] = []

    def run(self, places: int) -> str:
        """Have so many requests run at a time, until all are answered.

        :return: the report.
        """
        threads = [threading.Thread(target=self._work) for _ in range(places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        streams = self._streams
        return json.dumps(
            {
                "backend": "vllm",
                "num_prompts": len(self._asked),
                "request_rate": "inf",
                "max_concurrency": places,
                "total_input_tokens": sum(each.prompt_tokens for each in streams),
                "total_output_tokens": sum(each.asked for each in streams),
                "request_throughput": 1.0,
                "input_lens": [each.prompt_tokens for each in streams],
                "output_lens": [each.asked for each in streams],
                "ttfts": [(each.arrivals[0] - each.sent) * _SECONDS if each.arrivals else 0 for each in streams],
                "itls": [[(b - a) * _SECONDS for a, b in pairwise(each.arrivals)] for each in streams],
                "start_times": [each.sent * _SECONDS for each in streams],
                "errors": [each.fault for each in streams],
            }
        )

    def _work(self) -> None:
        while True:
            try:
                stream, request = self._left.pop()
            except IndexError:
                return
            # Its times are those of the kernel, so that it matters little how busy this machine is.
            Client(self._port, request, PATIENCE).run([stream], [0.0])
            self._streams.append(stream)

    def _request(self, prompt: int, answer: int) -> tuple[Stream, bytes]:
        body = json.dumps(
            {
                "model": self._model,
                "prompt": [self._generator.randrange(1000, 9000) for _ in range(prompt)],
                "max_tokens": answer,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json"
        return Stream(answer), f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
