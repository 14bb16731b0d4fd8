"""What tests of guards share."""

from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import InferenceError
from vllmsim.plugins.guards.blame import Blame


class GuardTestCase(SynchronousTestCase):
    """Looks at the log."""

    def setUp(self) -> None:
        """Listen."""
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.blame = Blame("thing", "mine")

    def lines(self) -> list[str]:
        """Read what has been logged about mistakes since the last time."""
        told = [each for each in self.events if each.get("log_namespace", "").endswith("Blame")]
        self.events.clear()
        self.flushLoggedErrors()
        return [each["log_format"].format(**each) for each in told]

    def assertBlamed(self, *texts: str) -> None:
        """Look whether each mistake was logged once, in order, with the plugin's name."""
        lines = self.lines()
        self.assertEqual(len(texts), len(lines), lines)
        for text, line in zip(texts, lines, strict=True):
            self.assertIn(f"The thing mine breaks: {text}", line)

    def assertBroken(self, text: str, function: Any, *arguments: Any) -> None:
        """Look whether a call ends as a client may be told, and the log says why."""
        with self.assertRaises(InferenceError) as caught:
            self.result(function(*arguments))
        self.assertEqual((500, "Internal server error"), (caught.exception.status, caught.exception.message))
        self.assertBlamed(text)

    def result(self, value: Any) -> Any:
        """Wait for a coroutine, if it is one; nothing that tests have takes time."""
        if not hasattr(value, "send"):
            return value
        try:
            value.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it waits")
