"""Two hundred streams on a base model and six adapters, of which two may run: nobody starves, and all books agree.

It lasts some seconds; ``VLLMSIM_SECONDS=60`` makes it a minute.
"""

import asyncio
import json
import os
import re
from collections import Counter
from typing import Any, Final

from tests.integration.daemon import DaemonTestCase

SECONDS: Final = float(os.environ.get("VLLMSIM_SECONDS", "5"))
STREAMS: Final = 200
SLOTS: Final = 48
ADAPTERS: Final = [f"adapter-{number}" for number in range(6)]
MODELS: Final = ["base", *ADAPTERS]
OVERTAKEN: Final = max(32, SLOTS)
"""How often the first that waits for an adapter's slot may be overtaken."""
INFO: Final = re.compile(
    r'vllm:lora_requests_info\{max_lora="2",running_lora_adapters="(.*?)",waiting_lora_adapters="(.*?)"\} (\S+)'
)


def request(path: str, body: dict[str, Any] | None = None) -> bytes:
    """Write a request."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read the body of an answer that has a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None, head
    return await reader.readexactly(int(length[1]))


class AdapterLoadTests(DaemonTestCase):
    """A busy server of adapters."""

    words = (
        "--model", "base", "--max-loras", "2", "--max-cpu-loras", "4", "--lora-load-time", "30ms",
        "--max-num-seqs", str(SLOTS), "--journal-size", "10000", "--journal-body-bytes", "0",
        "--time-to-first-token", "40ms", "--inter-token-latency", "20ms",
        "--lora-modules", *(json.dumps({"name": name, "path": f"/{name}"}) for name in ADAPTERS),
    )  # fmt: skip

    async def stream(self, number: int) -> int:
        """Ask for one answer after another on one connection, until the time is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.daemon.port)
        loop, count = asyncio.get_running_loop(), 0
        end = loop.time() + SECONDS
        while loop.time() < end:
            model = MODELS[number % len(MODELS)]
            length = 1 + (number * 7 + count * 5) % 30
            body = {"model": model, "prompt": "Hello", "max_tokens": length, "ignore_eos": True, "stream": True}
            writer.write(request("/v1/completions", body))
            said = await reader.readuntil(b"0\r\n\r\n")
            chunks = [json.loads(line[6:]) for line in said.split(b"\n") if line.startswith(b"data: {")]
            self.assertEqual((length, {model}), (len(chunks), {chunk["model"] for chunk in chunks}))
            count += 1
        writer.close()
        return count

    async def scrape(self) -> tuple[str, dict[str, dict[str, int]]]:
        """Ask for the metrics and for the journal's counts at one moment: one write, which is read in one turn."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.daemon.port)
        writer.write(request("/metrics") + request("/admin/requests?limit=0"))
        metrics, journal = await answer(reader), json.loads(await answer(reader))
        writer.close()
        return metrics.decode(), journal["sequences"]

    def check(self, metrics: str, sequences: dict[str, dict[str, int]]) -> int:
        """Compare what both say.

        :return: how many sequences run.
        """

        def gauge(name: str) -> int:
            match = re.search(rf'^vllm:{name}\{{engine="0",model_name="base"\}} (\S+)$', metrics, re.MULTILINE)
            assert match is not None
            return int(float(match[1]))

        def sums(state: str) -> int:
            return sum(each[state] for each in sequences.values())

        self.assertEqual(sums("running"), gauge("num_requests_running"))
        self.assertEqual(sums("waiting"), gauge("num_requests_waiting"))
        self.assertLessEqual(len([name for name in ADAPTERS if sequences.get(name, {}).get("running")]), 2)
        self.assertLessEqual(sums("running"), SLOTS)
        series = [(float(value), set(running.split(","))) for running, _, value in INFO.findall(metrics)]
        newest = max(value for value, _ in series)
        alive = {name for name in ADAPTERS if name in sequences} or {""}
        self.assertIn(alive, [names for value, names in series if value == newest])
        return sums("running")

    async def drive(self) -> tuple[int, list[int]]:
        """Run all streams, and scrape until they are done."""
        streams = asyncio.gather(*map(self.stream, range(STREAMS)))
        running = []
        while not streams.done():
            running.append(self.check(*await self.scrape()))
            await asyncio.sleep(0.05)
        return sum(await streams), running

    def test_load(self) -> None:
        """Every stream is answered whole, slots are full, gauges are the journal's, and overtaking is bounded."""
        count, running = asyncio.run(self.drive())
        self.assertGreater(len(running), 5 * SECONDS)
        self.assertEqual(SLOTS, max(running))
        journal = json.loads(self.daemon.get("/admin/requests"))
        records = journal["requests"]
        self.assertEqual((count, 0, {}), (len(records), journal["dropped"], journal["sequences"]))
        self.assertEqual({("completed", 200)}, {(each["outcome"], each["status"]) for each in records})
        served = Counter(each["model"] for each in records)
        self.assertEqual(set(MODELS), set(served))
        self.assertLessEqual(self.most_overtaken(records), OVERTAKEN * len(ADAPTERS))
        self.assertEqual(0, self.check(self.daemon.get("/metrics").decode(), {}))

    def most_overtaken(self, records: list[dict[str, Any]]) -> int:
        """Count by how many that use an adapter, and came later, someone was overtaken."""
        with_adapters = [each for each in records if each["adapter"]]
        queued = [each["arrived"] + each["times"]["queued"] for each in with_adapters]
        started = [each["arrived"] + each["times"]["started"] for each in with_adapters]
        most = 0
        for mine_queued, mine_started in zip(queued, started, strict=True):
            if mine_started - mine_queued > 0.1:
                others = zip(queued, started, strict=True)
                most = max(most, sum(q > mine_queued and s < mine_started for q, s in others))
        return most
