"""Templates that requests bring."""

import io
import json
import os
import resource
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.tokenization.chat import foreign
from vllmsim.tokenization.chat.foreign import ForeignTemplates
from vllmsim.tokenization.chat.turns import RefusedError

HI: dict[str, Any] = {"turns": [{"role": "user", "content": "hi é"}]}


class ForeignTests(SynchronousTestCase):
    """A process that may be lost."""

    def setUp(self) -> None:
        """Have one that has time, as this machine may be busy."""
        self.foreign = ForeignTemplates(in_thread, 20.0)
        self.addCleanup(self.foreign.close)

    def render(self, source: str) -> Deferred[str]:
        """Render a template."""
        return Deferred.fromCoroutine(self.foreign.render(source, "auto", HI))

    def refused(self, source: str) -> str:
        """Render a template that refuses."""
        return str(self.failureResultOf(self.render(source), RefusedError).value)

    def test_rendered(self) -> None:
        """A template is rendered as the model's own are, again and again by one process."""
        self.assertEqual("hi é", self.successResultOf(self.render("{{ messages[0].content }}")))
        first = self.foreign._process
        self.assertEqual("HI É", self.successResultOf(self.render("{{ messages[0].content | upper }}")))
        self.assertEqual("no", self.refused("{{ raise_exception('no') }}"))
        self.assertIs(first, self.foreign._process)

    def test_secrets(self) -> None:
        """The process knows none of the server's variables that may be secret, and no more of its descriptors."""
        self.patch(os, "environ", {**os.environ, "VLLM_API_KEY": "hunter2", "TZ": "UTC"})
        self.successResultOf(self.render("x"))
        assert self.foreign._process is not None
        process = Path(f"/proc/{self.foreign._process.pid}")
        variables = process.joinpath("environ").read_bytes().split(b"\0")
        self.assertIn(b"TZ=UTC", variables)
        self.assertFalse([each for each in variables if b"hunter2" in each])
        self.assertEqual({"0", "1", "2"}, {each.name for each in process.joinpath("fd").iterdir()})

    def test_endless(self) -> None:
        """A template that takes too long is given up, and the next one is rendered."""
        self.foreign._patience = 0.3
        started = time.monotonic()
        loops = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
        for source in (loops, "{{ 9 ** (9 ** 9) }}"):
            self.assertIn("more than 0.3 seconds", self.refused(source))
        self.assertLess(time.monotonic() - started, 10)
        self.foreign._patience = 20.0
        self.foreign.close()
        self.assertEqual("hi é", self.successResultOf(self.render("{{ messages[0].content }}")))

    def test_memory(self) -> None:
        """A template that wants all memory is refused."""
        self.assertIn("Memory", self.refused("{{ 'x' * 10 ** 10 }}"))

    def test_surrogates(self) -> None:
        """Halves of surrogate pairs are replaced, in what a template says and in why it refuses."""
        rendered = self.render("{{ '\\ud800 \\ud83d\\ude42' }}")
        self.assertEqual("\ufffd \U0001f642", self.successResultOf(rendered))
        self.assertEqual("\ufffd", self.refused("{{ raise_exception('\\ud800') }}"))

    def test_long_refusal(self) -> None:
        """Of a refusal the beginning is told."""
        self.assertEqual("x" * 4096, self.refused("{{ raise_exception('x' * 10 ** 6) }}"))

    def test_deep(self) -> None:
        """Arguments that are nested too deeply for JSON are refused."""
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        told = {**HI, "variables": {"deep": deep}}
        rendered = Deferred.fromCoroutine(self.foreign.render("{{ deep }}", "auto", told))
        self.assertIn("nested too deeply", str(self.failureResultOf(rendered, RefusedError).value))

    def test_long(self) -> None:
        """A text that is too long is refused."""
        self.assertIn("too long a text", self.refused("{{ 'x' * 10 ** 7 }}"))

    def test_gone(self) -> None:
        """A process that was ended from outside is started anew with the next template."""
        self.successResultOf(self.render(""))
        process = self.foreign._process
        assert process is not None
        process.kill()
        process.wait()
        self.refused("x")
        self.assertEqual("x", self.successResultOf(self.render("x")))

    def test_cancelled(self) -> None:
        """Who no longer waits lets nobody else into the process before it is done."""
        threads: list[tuple[Deferred[Any], Any]] = []

        def later(*work: Any) -> Deferred[Any]:
            threads.append((Deferred(), work))
            return threads[-1][0]

        templates = ForeignTemplates(later)
        first = Deferred.fromCoroutine(templates.render("a", "auto", HI))
        second = Deferred.fromCoroutine(templates.render("b", "auto", HI))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(1, len(threads))
        threads[0][0].callback("done")
        threads[1][0].callback("second")
        self.assertEqual("second", self.successResultOf(second))


class ServingTests(SynchronousTestCase):
    """The process's own side."""

    def serve(self, *requests: dict[str, Any]) -> list[str]:
        """Let it answer."""
        asked = b"".join(len(data).to_bytes(4, "big") + data for data in (json.dumps(r).encode() for r in requests))
        answers = io.BytesIO()
        foreign.serve(io.BytesIO(asked), answers, 5.0)
        answers.seek(0)
        found = []
        while answer := foreign._receive(answers):
            found.append(answer.decode())
        return found

    def test_answers(self) -> None:
        """Each request gets its text, or why there is none."""
        request = {"source": "{{ messages[0].content }}", "form": "string", "arguments": HI}
        broken = {"source": "{% if %}", "form": "auto", "arguments": HI}
        long = {"source": "{{ 'x' * 10 ** 7 }}", "form": "auto", "arguments": HI}
        text, refusal, length = self.serve(request, broken, long)
        self.assertEqual("+hi é", text)
        self.assertIn("-TemplateSyntaxError", refusal)
        self.assertIn("-The chat template makes too long", length)

    def test_start(self) -> None:
        """It bounds its memory before it answers."""
        calls: list[Any] = []
        with (
            patch.object(resource, "setrlimit", lambda *words: calls.append(words)),
            patch.object(foreign, "serve", lambda *words: calls.append(words[2])),
        ):
            foreign.main(["-c", "root", "1.5"])
        self.assertEqual([(resource.RLIMIT_AS, (512 << 20, 512 << 20)), 1.5], calls)
