"""Plugins that break in every member that there is, in every way that there is."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dropins import drop_in
from tests.faults import evil
from tests.faults.case import FaultTestCase, figure
from tests.faults.clients import FULL
from tests.folders import make_folder
from tests.harness import Exchange, RankTestCase
from tests.integration.daemon import ROOT, Daemon
from vllmsim.interfaces import IStepTime
from vllmsim.plugins.guards.blame import CLOSING
from vllmsim.plugins.registry import SEAMS

DROPPED = """
from tests.faults.evil import factories
globals().update(factories())
"""
WORDS: dict[str, list[str]] = {
    "IResponseSource": ["--mode", "{}"],
    "ILatencyModel": ["--latency-calculator", "{}"],
    "IStepTime": ["--scheduling-model", "step", "--step-time", "{}"],
    "ITokenizer": ["--tokenizer", "plugin:{}"],
    "IFailure": ["--failure-plugins", "{}"],
    "IBlockEventOutlet": ["--enable-kvcache", "--kv-events-publisher", "{}"],
    "IMiddleware": ["--middleware", "BESIDE"],
}
"""What names a plugin, by the product of its seam; BESIDE stands for its name with its options."""
HI = [{"role": "user", "content": "one two three " * 20}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
GIVEN = {"request_id": "r", "choices": [{"index": 0, "token_ids": [5, 6], "finish_reason": "stop", "logprobs": {
    "content": [{"token": "token_id:5", "token_id": 5, "logprob": -1.0, "top_logprobs": []}]}}]}  # fmt: skip
ASKED: list[tuple[str, Any, dict[str, str]]] = [
    ("/v1/chat/completions", {"messages": HI, "max_tokens": 3, "logprobs": True}, {}),
    ("/v1/chat/completions", {"messages": HI, "max_tokens": 3, "stream": True}, {"X_Send_Image": "true"}),
    ("/v1/chat/completions", {"messages": HI, "tools": [TOOL], "tool_choice": "required"}, {}),
    ("/v1/completions", {"prompt": [5, 6], "max_tokens": 3}, {}),
    ("/v1/messages", {"model": "m", "messages": HI, "max_tokens": 3, "stream": True}, {}),
    ("/v1/responses", {"model": "m", "input": "hi", "max_output_tokens": 20}, {}),
    ("/tokenize", {"prompt": "one two", "return_token_strs": True}, {}),
    ("/detokenize", {"tokens": [5, 6]}, {}),
    ("/tokenizer_info", None, {}),
    ("/v1/chat/completions/derender", {"generate_response": GIVEN}, {}),
    ("/kv_event_sources", None, {}),
    ("/v1/completions", {"prompt": "one two", "max_tokens": 3}, {"Expect": "100-continue"}),
]
"""Requests that together use every member of every interface."""
CONTINUE = 100
SOME = 3
"""Which part of what can go wrong is tried where there is no time for everything: another with each member."""
SLACK = 1.0
"""Seconds that any of them takes at most."""


TALLY: Counter[str] = Counter()
"""What became of the ways in which plugins broke."""


def listed(tally: Counter[str]) -> str:
    """Write how often there was what."""
    return ", ".join(f"{number} {what}" for what, number in sorted(tally.items()))


def members() -> Iterator[tuple[Any, Any, str]]:
    """List seams, what they are given, and the members of that, and of the factory."""
    for seam in SEAMS:
        for product in evil.products(seam):
            for name in ("create", *product.names(all=True)):
                yield seam, product, name


class Play(RankTestCase):
    """A rank with one plugin, for a while."""

    def begin(self, seam: Any, product: Any, options: dict[str, str]) -> "Play":
        """Make the rank."""
        self.ends: list[Callable[[], object]] = []
        name = f"evil-{product.__name__}"
        words = ["--model", "m", "--omni", "--enable-tokenizer-info-endpoint", "--inter-token-latency", "1ms"]
        more = WORDS[SEAMS[seam].product.__name__]
        words += [json.dumps({"name": name, **options}) if word == "BESIDE" else word.format(name) for word in more]
        if "BESIDE" not in more:
            words += ["--plugin-options", json.dumps({name: options})]
        self.make_rank(*words)
        if self.rank.events is not None:
            self.rank.events.open()
            self.addCleanup(lambda: Deferred.fromCoroutine(self.rank.events.close()))
        return self

    def addCleanup(self, function: Any, *arguments: Any, **more: Any) -> None:  # type: ignore[override]
        """Have something done at the end of the play, and not of the test."""
        self.ends.append(lambda: function(*arguments, **more))

    def ask_all(self) -> Iterator[Exchange]:
        """Send all requests, and let time pass."""
        for path, body, headers in ASKED:
            exchange = self.get(path, **headers) if body is None else self.post(path, body, **headers)
            if exchange.status == CONTINUE:
                answer = exchange.raw.partition(b"\r\n\r\n")[2]
                exchange.transport.clear()
                exchange.transport.write(answer)
            self.clock.pump([0, SLACK / 2, SLACK / 2])
            yield exchange

    def end(self) -> list[str]:
        """End it.

        :return: what is wrong with that.
        """
        wrong = []
        while self.ends:
            try:
                result = self.ends.pop()()
                self.clock.pump([0, CLOSING, 0])
                if isinstance(result, Deferred):
                    self.successResultOf(result)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is found
                wrong.append(f"the end: {error!r:.200}")
        return wrong


class PluginTests(SynchronousTestCase):
    """One plugin, which breaks in one member, in every way."""

    @classmethod
    def setUpClass(cls) -> None:
        """Tell at the end what has been tried."""
        TALLY.clear()
        cls.addClassCleanup(lambda: figure(f"plugins that break: {listed(TALLY)}"))

    def setUp(self) -> None:
        """Have the plugins there."""
        drop_in(self, head="", evil=DROPPED)
        self.sick = make_folder(self) / "sick"
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        # Where nobody has said where the log goes, it comes out on standard error: thousands of lines.
        usual: Any = globalLogBeginner._temporaryObserver
        if usual is not None:
            globalLogPublisher.removeObserver(usual)
            self.addCleanup(globalLogPublisher.addObserver, usual)

    def play(self, seam: Any, product: Any, member: str, act: str, when: str) -> str:
        """Have a plugin break in one way, and look what that costs.

        :return: ``refused`` if the server does not start with it, ``answered`` if all requests were, with an error or
            without, ``left`` if one was answered only when its client left; or what is wrong.
        """
        options = {"member": member, "act": act, "when": when, "sick": str(self.sick)}
        self.sick.touch()
        try:
            play = Play("setUp").begin(seam, product, options)
        except (SystemExit, OSError) as error:
            text = str(error)
            return "refused" if f"evil-{product.__name__}" in text and text.isprintable() else f"refused with {text!r}"
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is found
            return f"the start: {error!r:.200}"
        wrong: list[str] = []
        left = False
        try:
            left = self.try_all(play, act, wrong)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is found
            wrong.append(f"escaped: {error!r:.200}")
        self.sick.touch()
        wrong += play.end()
        for event in self.events:
            # A Deferred that nobody asked for, and that fails, is told by Twisted when it is gone.
            if event.get("log_failure") and not event["log_namespace"].endswith(("Blame", "internet.defer")):
                wrong.append(f"logged: {event['log_namespace']}: {event['log_failure'].value!r:.200}")
        return "; ".join(wrong) or ("left" if left else "answered")

    def try_all(self, play: Play, act: str, wrong: list[str]) -> bool:
        """Send all requests while the plugin is sick, and again when it is not.

        :param wrong: takes what is wrong.
        :return: whether one was answered only when its client left.
        """
        left = False
        for exchange in play.ask_all():
            if not exchange.complete:
                left = True
                if "pending" not in act:
                    wrong.append(f"no answer: {exchange.raw!r:.200}")
                exchange.drop()
                play.clock.advance(0)
        self.sick.unlink()
        wrong += [
            f"afterwards: {exchange.raw!r:.300}"
            for exchange in play.ask_all()
            if exchange.status != 200 or not exchange.complete or b'"error"' in exchange.body
        ]
        if play.rank.slots.running or list(play.rank.backlog.sequences):
            wrong.append("sequences are left")
        return left

    def check(self, seam: Any, product: Any, member: str) -> None:
        """Try one member in every way."""
        if self.sick.exists():
            self.sick.unlink()
        play = Play("setUp").begin(seam, product, {"member": "none", "act": "", "when": "", "sick": str(self.sick)})
        self.assertEqual([], [exchange.raw for exchange in play.ask_all() if exchange.status != 200])
        self.assertEqual([], play.end())
        self.assertIn((product.__name__, member), evil.SEEN, "no request needs it: add one to ASKED")
        tally: Counter[str] = Counter()
        wrong = []
        for when in evil.SEEN[product.__name__, member]:
            for act in list(evil.ACTS)[0 if FULL else len(member) % SOME :: 1 if FULL else SOME]:
                self.events.clear()
                found = self.play(seam, product, member, act, when)
                self.flushLoggedErrors()
                if found in {"answered", "left", "refused"}:
                    tally[found] += 1
                else:
                    wrong.append(f"{act}, {when}: {found}")
        self.assertFalse(wrong, "\n" + "\n".join(wrong))
        TALLY.update(tally)


def _add(seam: Any, product: Any, member: str) -> None:
    def test(self: PluginTests) -> None:
        self.check(seam, product, member)

    test.__doc__ = f"Whatever becomes of {product.__name__}.{member}, that costs a request and nothing else."
    # An alarm may ring in a destructor, where what it raises is lost, and said; then it rings again.
    ringing = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    setattr(PluginTests, f"test_{product.__name__}_{member}", ringing(test) if product is IStepTime else test)


for each in members():
    _add(*each)


class DaemonTests(FaultTestCase):
    """A daemon that has everything from plugins which break in everything, for a while."""

    def test_daemon(self) -> None:
        """While plugins break in every way nothing else does: later all is served, and the end is in order."""
        folder = make_folder(self)
        place = folder / "vllmsim" / "plugins"
        place.mkdir(parents=True)
        (place / "evil.py").write_text(DROPPED)
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"})
        sick = folder / "sick"
        options = {"act": "each", "sick": str(sick)}
        words = ["--model", "m", "--max-num-seqs", "4", "--middleware"]
        words += [json.dumps({"name": f"evil-{name}", **options}) for name in ("IMiddleware", "IDoorkeeper")]
        named = {"IResponseSource", "ILatencyModel", "IStepTime", "ITokenizer", "IFailure", "IBlockEventOutlet"}
        self.assertEqual({*named, "IMiddleware"}, {SEAMS[seam].product.__name__ for seam in SEAMS})
        for name in named:
            words += [word.format(f"evil-{name}") for word in WORDS[name]]
        words += ["--plugin-options", json.dumps({f"evil-{name}": options for name in named})]
        daemon = self.start(*words)
        daemon.wait()
        self.served(daemon, 5)
        sick.touch()
        count = 2000 if FULL else 150
        with ThreadPoolExecutor(8) as threads:
            tally = Counter(threads.map(lambda number: self.send(daemon, number), range(count)))
        self.assertNotIn("refused", tally)
        sick.unlink()
        self.rest(daemon)
        self.served(daemon, 20)
        self.assertEqual(0, daemon.stop())
        figure(f"daemon of plugins that break: {count} requests: {listed(tally)}; then 20 of 20 served")

    def send(self, daemon: Daemon, number: int) -> str:
        """Send a request, and leave if the answer does not come.

        :return: what became of it.
        """
        path, body, _ = ASKED[number % len(ASKED)]
        data = None if body is None else json.dumps(body).encode()
        request = Request(daemon.url(path), data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=0.5) as response:
                response.read()
                return "answered 200"
        except HTTPError as error:
            return f"answered {error.code}"
        except TimeoutError:
            return "left"
        except (URLError, HTTPException) as error:
            return "left" if isinstance(getattr(error, "reason", None), TimeoutError) else "cut"
        except OSError:
            return "cut"
