"""What runs a rank's sequences."""

from tests.harness import RankTestCase
from tests.kvcache.recording import RecordingPublisher
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.steps.engine import StepEngine


class RunningTests(RankTestCase):
    """Slots or an engine, as the configuration asks."""

    def test_choice(self) -> None:
        """There are slots, unless steps are asked for."""
        for words, kind in (("", SequenceSlots), ("--scheduling-model step", StepEngine)):
            self.assertIsInstance(self.make_rank(*words.split()).slots, kind)

    def test_events(self) -> None:
        """What happens to blocks in a step is told at its end, in one message, however long messages may wait."""
        words = "--scheduling-model step --step-time-constant 100ms --block-size 8 --zmq-endpoint="
        self.make_rank(*words.split(), "--event-flush-interval", "1h", "--event-batch-size", "100")
        assert self.rank.events is not None
        publisher = RecordingPublisher()
        self.rank.events.batcher.join(publisher)
        self.post(
            "/v1/completions", {"prompt": [[*range(30)], [*range(90, 120)]], "max_tokens": 20, "ignore_eos": True}
        )
        self.assertEqual([], publisher.read())
        self.clock.advance(0.11)
        self.assertEqual([2], [len(events) for events in publisher.read()])
        self.clock.pump([0.1] * 25)
        self.assertEqual([2] * 3, [len(events) for events in publisher.read()])
