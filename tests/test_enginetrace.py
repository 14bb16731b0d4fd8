"""The trace of what an engine does, as those who draw it read it."""

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from tests.folders import fill_disk, make_folder
from tests.harness import EPOCH, RankTestCase
from tests.traceevents import Slice, events, read
from vllmsim import enginetrace
from vllmsim.appending import INTERVAL, RETRY
from vllmsim.enginetrace import EngineTrace, make_engine_trace
from vllmsim.interfaces import IEngineTrace
from vllmsim.steps import StepWork

WORK = StepWork(prefill_tokens=7, decodes=2, read=100, pairs=128)
SECOND = 1_000_000
DAYTIME = EPOCH % 86400
"""What the clocks of tests begin with, as seconds since midnight."""


class EngineTraceTests(SynchronousTestCase):
    """A trace in a folder of its own."""

    def setUp(self) -> None:
        """Make it."""
        self.path = make_folder(self) / "trace.json"
        self.blocks = 0, 0
        self.clock = Clock()
        self.trace = self.make()

    def make(self, most_bytes: int = 1 << 20) -> EngineTrace:
        """Make a trace."""
        return make_engine_trace(
            str(self.path), most_bytes, 3, "m rank 3", 1000.0, lambda: self.blocks, self.clock, in_thread
        )

    def flush(self) -> str:
        """Have all written that has happened."""
        self.clock.advance(INTERVAL)
        return self.path.read_text("ascii") if self.path.exists() else ""

    def names(self, slices: list[Slice]) -> list[tuple[str, int, int | None]]:
        """Say what slices are called, and from when to when they last, in seconds since the clock's beginning."""
        zero = 1000 * SECOND
        return [
            (each.name, (each.begin - zero) // SECOND, None if each.end is None else (each.end - zero) // SECOND)
            for each in slices
        ]

    def test_interface(self) -> None:
        """It is what an engine tells."""
        verifyObject(IEngineTrace, self.trace)

    def test_steps(self) -> None:
        """Steps are slices that say what they computed, one behind the other, and blocks are counted at each."""
        self.blocks = 5, 2
        self.trace.step_began(1.0, 0.5, WORK, {"sequences": 3})
        self.trace.step_began(1.5, 0.25, StepWork(decodes=3), {"sequences": 3})
        self.blocks = 6, 2
        self.trace.step_began(1.75, 0.1, StepWork(prefill_tokens=3), {"sequences": 1})
        self.flush()
        trace = read(self.path)
        self.assertEqual({3: "m rank 3"}, trace.names)
        steps = trace.steps[3]
        self.assertEqual(["prefill and decode", "decode", "prefill"], [each.name for each in steps])
        self.assertEqual([(1001 * SECOND, 1001 * SECOND + SECOND // 2)], [(each.begin, each.end) for each in steps[:1]])
        expected = {
            "step": 1, "sequences": 3, "tokens": 9, "prefill_tokens": 7, "decodes": 2, "draft_tokens": 0,
            "read": 100, "pairs": 128,
        }  # fmt: skip
        self.assertEqual(expected, steps[0].facts)
        counts = [(at - 1000 * SECOND, each["used"]) for at, each in trace.counters[3, "KV blocks"]]
        self.assertEqual([(SECOND, 5), (SECOND * 7 // 4, 6)], counts)

    def test_sequences(self) -> None:
        """A sequence is a slice with its phases in it; those that run and those that wait are counted."""
        first = self.trace.sequence_came(1.0, {"id": "a", "tokens": 7})
        second = self.trace.sequence_came(2.0, {"id": "b"})
        self.trace.sequence_moved(first, 3.0, "prefill", {"cached": 4})
        self.trace.sequence_moved(second, 3.0, "prefill", {})
        self.trace.sequence_moved(first, 4.0, "decode", {})
        self.trace.sequence_moved(second, 5.0, "preempted", {})
        self.trace.sequence_left(first, 6.0)
        self.flush()
        trace = read(self.path)
        self.assertEqual(
            [("sequence", 1, 6), ("queued", 1, 3), ("prefill", 3, 4), ("decode", 4, 6)],
            self.names(trace.sequences[3, first]),
        )
        self.assertEqual(
            [("sequence", 2, None), ("queued", 2, 3), ("prefill", 3, 5), ("preempted", 5, None)],
            self.names(trace.sequences[3, second]),
        )
        facts = [each.facts for each in trace.sequences[3, first]]
        self.assertEqual([{"id": "a", "tokens": 7}, {}, {"cached": 4}, {}], facts)
        counts = [(at // SECOND - 1000, *each.values()) for at, each in trace.counters[3, "sequences"]]
        self.assertEqual([(1, 0, 1), (2, 0, 2), (3, 2, 0), (5, 1, 1), (6, 0, 1)], counts)

    def test_midnight(self) -> None:
        """What happens at the very beginning of a day is counted too."""
        self.trace = make_engine_trace(str(self.path), 1 << 20, 3, "m", 0.0, lambda: (0, 0), self.clock, in_thread)
        number = self.trace.sequence_came(0.0, {})
        self.trace.sequence_moved(number, 1.0, "prefill", {})
        self.flush()
        counts = [(at // SECOND, *each.values()) for at, each in read(self.path).counters[3, "sequences"]]
        self.assertEqual([(0, 0, 1), (1, 1, 0)], counts)

    def test_look(self) -> None:
        """Blocks are counted between steps too, when their number has changed."""
        for at, self.blocks in enumerate([(0, 0), (1, 0), (1, 0), (1, 1)]):
            self.trace.look(float(at))
        self.flush()
        counts = [(at // SECOND - 1000, *each.values()) for at, each in read(self.path).counters[3, "KV blocks"]]
        self.assertEqual([(1, 1, 0), (3, 1, 1)], counts)

    def test_whole(self) -> None:
        """The file is whole JSON when the server has stopped, and can be read before that, torn anywhere."""
        for at in range(3):
            self.trace.step_began(float(at), 0.5, WORK, {})
        text = self.flush()
        self.assertRaises(ValueError, json.loads, text)
        for end in range(len(text)):
            self.assertLessEqual(len(events(text[:end])), 6)
        for _ in range(2):
            self.successResultOf(self.trace.file.stop())
        self.assertEqual(text, self.path.read_text()[: len(text)])
        self.assertEqual(3, sum(each["ph"] == "X" for each in json.loads(self.path.read_text())))

    def test_nothing(self) -> None:
        """A server that has done nothing leaves an empty file."""
        self.trace.file.check()
        self.successResultOf(self.trace.file.stop())
        self.assertEqual("", self.path.read_text())

    def test_turned(self) -> None:
        """A file that is long enough is completed and set aside; the next tells of all sequences that are there."""
        self.trace = self.make(2000)
        before, after = self.path.with_name("trace.json.1"), self.path
        number = self.trace.sequence_came(0.0, {"id": "a"})
        self.trace.sequence_moved(number, 0.5, "prefill", {})
        steps = 0
        while not before.exists() or not after.exists():
            steps += 1
            self.trace.step_began(float(steps), 0.5, WORK, {})
            self.flush()
        json.loads(before.read_text())
        old, new = read(before), read(after)
        self.assertEqual(
            list(range(1, steps + 1)), [each.facts["step"] for trace in (old, new) for each in trace.steps[3]]
        )
        [(name, *_), (phase, *_)] = self.names(new.sequences[3, number])
        self.assertEqual(("sequence", "prefill", {"id": "a"}), (name, phase, new.sequences[3, number][0].facts))
        self.assertLess(before.stat().st_size, 3000)
        self.assertEqual({3: "m rank 3"}, new.names)

    def test_turned_again(self) -> None:
        """There are two files at most."""
        self.trace = self.make(1000)
        for at in range(30):
            self.trace.step_began(float(at), 0.5, WORK, {})
            if not at % 5:
                self.flush()
        self.flush()
        self.assertLessEqual({each.name for each in self.path.parent.iterdir()}, {"trace.json", "trace.json.1"})

    def test_moved(self) -> None:
        """A file that is moved away goes on in another, which tells of all sequences that are there."""
        number = self.trace.sequence_came(0.0, {"id": "a"})
        self.flush()
        self.path.rename(self.path.with_suffix(".old"))
        self.trace.sequence_moved(number, 1.0, "prefill", {})
        self.flush()
        self.assertEqual(
            [("sequence", 0, None), ("queued", 0, 1), ("prefill", 1, None)],
            self.names(read(self.path).sequences[3, number]),
        )

    def test_before(self) -> None:
        """What is there from an earlier run, or a crash, is set aside."""
        self.path.write_text("old")
        self.trace.file.check()
        self.assertFalse(self.path.exists())
        self.assertEqual("old", self.path.with_name("trace.json.1").read_text())

    def test_no_file(self) -> None:
        """What is no file, such as a pipe, is refused at the start."""
        os.mkfifo(self.path)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertRaisesRegex(OSError, "no regular file", self.trace.file.check)

    def test_not_set_aside(self) -> None:
        """Where a file cannot be set aside it becomes longer, and is whole in the end."""
        self.path.with_name("trace.json.1").mkdir()
        self.trace = self.make(500)
        for at in range(5):
            self.trace.step_began(float(at), 0.5, WORK, {})
            self.flush()
        self.successResultOf(self.trace.file.stop())
        self.assertEqual(5, sum(each["ph"] == "X" for each in json.loads(self.path.read_text())))

    def test_full(self) -> None:
        """On a disk that is full for a while the file is whole in the end."""
        fill_disk(self, 300)
        for at in range(3):
            self.trace.step_began(float(at), 0.5, WORK, {})
        self.assertEqual(300, len(self.flush()))
        self.clock.advance(RETRY)
        self.assertEqual([1, 2, 3], [each.facts["step"] for each in read(self.path).steps[3]])

    def test_bound(self) -> None:
        """No more waits to be written than a bound, however fast an engine is."""
        self.patch(enginetrace, "MOST_WAITING", 20)
        self.trace = self.make()
        for at in range(30):
            self.trace.step_began(float(at), 1.0, WORK, {})
        self.flush()
        self.assertEqual(20, read(self.path).steps[3][-1].facts["step"])


class LiveTests(RankTestCase):
    """What a rank writes of live traffic."""

    def make(self, *words: str) -> Path:
        """Make a rank, and say where it writes."""
        path = make_folder(self) / "{rank}.json"
        self.make_rank("--engine-trace", str(path), *words)
        return path.with_name("0.json")

    def phases(self, path: Path) -> list[list[tuple[str, float, float]]]:
        """Tell where each sequence was, from when to when."""
        self.clock.advance(INTERVAL)
        told: list[Any] = []
        for slices in read(path).sequences.values():
            self.assertTrue(all(each.end is not None for each in slices), slices)
            told.append(
                [(each.name, each.begin / SECOND - DAYTIME, (each.end or 0) / SECOND - DAYTIME) for each in slices]
            )
        return told

    def test_per_request(self) -> None:
        """Where each request has its own time, sequences and blocks are told; there are no steps."""
        path = self.make(
            "m", "--time-to-first-token", "1s", "--inter-token-latency", "125ms", "--max-num-seqs", "1",
            "--enable-kvcache",
        )  # fmt: skip
        self.complete("one two " * 20, max_tokens=2, ignore_eos=True)
        self.complete("hello", max_tokens=2, ignore_eos=True)
        for _ in range(30):
            self.clock.advance(0.125)
        first, second = self.phases(path)
        self.assertEqual(["sequence", "queued", "prefill", "decode"], [name for name, *_ in first])
        self.assertEqual([0, 0, 0, 1], [begin for _, begin, _ in first])
        self.assertEqual([0, 0, 1.125, 2.125], [begin for _, begin, _ in second])
        self.assertEqual([2.25, 1.125, 2.125, 2.25], [end for _, _, end in second])
        trace = read(path)
        self.assertEqual({}, trace.steps)
        self.assertEqual({"running": 0, "waiting": 0}, trace.counters[0, "sequences"][-1][1])
        self.assertIn({"running": 1, "waiting": 1}, [each for _, each in trace.counters[0, "sequences"]])
        used = [each["used"] for _, each in trace.counters[0, "KV blocks"]]
        self.assertGreater(max(used), 1)
        self.assertEqual(0, used[-1])

    def test_steps(self) -> None:
        """Where there are steps they are told, from one end to the next, and who loses its blocks is seen."""
        path = self.make(
            "m", "--scheduling-model", "step", "--step-time-constant", "125ms", "--max-model-len", "128",
            "--kv-cache-size", "10", "--max-num-batched-tokens", "64",
        )  # fmt: skip
        for word in "ab":
            self.complete(f"{word} c " * 30, max_tokens=20, ignore_eos=True)
        for _ in range(50):
            self.clock.advance(0.125)
        first, second = self.phases(path)
        self.assertEqual(["sequence", "queued", "prefill", "decode"], [name for name, *_ in first])
        again = ["prefill", "decode", "preempted"]
        self.assertEqual(["sequence", "queued", *again, "prefill", "decode"], [name for name, *_ in second])
        self.assertTrue(all(end * 8 == round(end * 8) for _, _, end in [*first, *second]))
        trace = read(path)
        steps = trace.steps[0]
        self.assertEqual(range(1, len(steps) + 1), range(steps[0].facts["step"], steps[-1].facts["step"] + 1))
        self.assertEqual(
            [each.begin for each in steps[1:]], [each.end for each in steps[:-1]], "one begins when the last ends"
        )
        self.assertEqual(
            (1, 2), (sum(each.facts["preempted"] for each in steps), max(each.facts["sequences"] for each in steps))
        )
        self.assertEqual(3, sum(each.facts["admitted"] for each in steps))
        # Each lasts from its first step's beginning to its last one's end.
        self.assertEqual(steps[-1].end, max((each[0].end or 0) for each in trace.sequences.values()))
        used = [each["used"] for _, each in trace.counters[0, "KV blocks"]]
        self.assertEqual((9, 0), (max(used), used[-1]))
        self.assertIn({"running": 1, "waiting": 1}, [each for _, each in trace.counters[0, "sequences"]])

    def test_given_up(self) -> None:
        """Sequences whose clients leave are gone, whether they waited or ran."""
        path = self.make("--time-to-first-token", "1s", "--max-num-seqs", "1")
        exchanges = [self.complete("hello", n=2, stream=True) for _ in range(2)]
        self.clock.advance(0.5)
        for exchange in exchanges:
            exchange.drop()
        self.clock.advance(0.1)
        self.assertEqual(4, len(self.phases(path)))

    def test_none(self) -> None:
        """Without the option nothing is traced."""
        self.make_rank()
        self.assertEqual([], self.rank.files)
