"""What must be there before ranks can be built."""

from pathlib import Path
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent

from tests.commandline import load_words
from tests.dataset.making import fill, row_of
from tests.downloading.fakeweb import Served, WebTestCase, new_directory
from tests.tokenization.fakehub import ENDPOINT, TOKENIZER, put_model
from vllmsim import preparing
from vllmsim.downloading import web
from vllmsim.listening import StartError
from vllmsim.preparing import Needs, Preparation, Unprepared, get, needs
from vllmsim.tokenization.hub.cache import HubModel


def database(directory: Path, rows: int) -> bytes:
    """Make a dataset, and leave nothing of it in the directory."""
    path = directory / "made"
    fill(path, [row_of("hi", "a")] * rows)
    content = path.read_bytes()
    path.unlink()
    return content


class NeedsTests(SynchronousTestCase):
    """What is missing."""

    def setUp(self) -> None:
        """Make a directory."""
        self.directory = new_directory(self)

    def needs(self, *words: str) -> Needs:
        """Find out for the words of a command line."""
        return needs(load_words(words, {}).configuration, {"HF_HUB_CACHE": str(self.directory)})

    def test_nothing(self) -> None:
        """Without tokenizers on the hub and datasets on the web nothing is missing."""
        for words in ((), ("--tokenizer", "words"), ("--tokenizer", "remote"), ("--dataset-path", "/no/such")):
            self.assertFalse(self.needs(*words))

    def test_tokenizer(self) -> None:
        """A tokenizer on the hub is missing until it is in the cache."""
        words = ("--tokenizer", "org/model", "--tokenizer-revision", "v1")
        self.assertEqual(Needs(HubModel("org/model", "v1")), self.needs(*words))
        self.assertFalse(self.needs(*words, "--force-dummy-tokenizer"))

    def test_datasets(self) -> None:
        """Datasets with an address are missing until their files are there; each file is got once."""
        here, there = self.directory / "here", self.directory / "there"
        here.touch()
        each = f'{{"path": "{there}", "url": "http://x/2"}}'
        words: tuple[str, ...] = ("--dataset-path", str(here), "--dataset-url", "http://x/1")
        words += ("--datasets", f'{{"a": {each}, "b": {each}}}')
        self.assertEqual([(str(there), "http://x/2")], [(d.path, d.url) for d in self.needs(*words).datasets])
        here.unlink()
        self.assertEqual([str(here), str(there)], [d.path for d in self.needs(*words).datasets])
        self.assertFalse(self.needs(*words, "--mm-encoder-only"))

    def test_named(self) -> None:
        """What is missing can be said in words."""
        words = ("--tokenizer", "org/model", "--dataset-path", "/x/talk.sqlite3", "--dataset-url", "http://secret@x/1")
        self.assertEqual("the tokenizer of org/model, the dataset talk.sqlite3", str(self.needs(*words)))

    def test_gone(self) -> None:
        """A tokenizer's file that is gone is an error."""
        path = self.directory / "tokenizer.json"
        path.touch()
        configuration = load_words(("--tokenizer", str(path)), {}).configuration
        path.unlink()
        self.assertRaises(ValueError, needs, configuration, {})


class ThreadlessReactor(MemoryReactorClock):
    """Runs what is for threads at once."""

    def getThreadPool(self) -> "ThreadlessReactor":
        """Be the pool too."""
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        """Run a function."""
        done(True, function(*arguments))

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        """Run what comes back."""
        function(*arguments)


class GettingTests(WebTestCase):
    """Getting it."""

    def get(self, *words: str, **environ: str) -> Deferred[None]:
        """Get what is missing for the words of a command line."""
        reactor = ThreadlessReactor()
        self.patch(web, "web_client", lambda _: self.client)
        environ |= {"HF_HUB_CACHE": str(self.directory), "HF_ENDPOINT": ENDPOINT}
        configuration = load_words(words, {}).configuration
        return self.run_to_end(get(needs(configuration, environ), configuration, environ, reactor))

    def test_everything(self) -> None:
        """The tokenizer and the datasets are there afterwards; the hub's token goes to the hub alone."""
        put_model(self.web)
        contents = database(self.directory, 1), database(self.directory, 2)
        self.web.files |= {"hub.test/d": Served(contents[0]), "data.test/d": Served(contents[1])}
        one, two = self.directory / "one", self.directory / "two"
        maps = f'{{"a": {{"path": "{two}", "url": "http://data.test/d"}}}}'
        words = ("--tokenizer", "org/model", "--hf-token", "secret", "--datasets", maps)
        self.successResultOf(self.get(*words, "--dataset-path", str(one), "--dataset-url", "http://hub.test/d"))
        self.assertEqual(contents, (one.read_bytes(), two.read_bytes()))
        [path] = self.directory.glob("models--org--model/snapshots/*/tokenizer.json")
        self.assertEqual(TOKENIZER, path.read_bytes())
        told = {where: headers.get("authorization") for _, where, headers in self.web.asked}
        self.assertEqual(("Bearer secret", None), (told["hub.test/d"], told["data.test/d"]))

    def test_checksum(self) -> None:
        """A dataset with another checksum is not kept."""
        self.web.files["data.test/d"] = Served(b"two")
        path = str(self.directory / "d")
        words = ("--dataset-path", path, "--dataset-url", "http://data.test/d", "--dataset-sha256", "0" * 64)
        failure = self.failureResultOf(self.get(*words), Unprepared)
        self.assertIn("d from http://data.test/d has not the SHA-256 0000", str(failure.value))
        self.assertEqual([], self.there())

    def test_no_database(self) -> None:
        """What is no database, or a part of one, is not kept, so that the next start does not stumble over it."""
        path = str(self.directory / "d")
        words = ("--dataset-path", path, "--dataset-url", "http://data.test/d")
        cut = database(self.directory, 1)[:-1000]
        for content, fault in ((b"<html>Log in</html>", "no SQLite database"), (cut, "no whole SQLite database (")):
            self.web.files["data.test/d"] = Served(content, chunked=True)
            failure = self.failureResultOf(self.get(*words), Unprepared)
            self.assertIn(f"d from http://data.test/d is {fault}", str(failure.value))
            self.assertEqual([], self.there())

    def test_offline(self) -> None:
        """Without a network what is missing is named."""
        failure = self.failureResultOf(self.get("--tokenizer", "org/model", HF_HUB_OFFLINE="1"), Unprepared)
        self.assertIn("tokenizer.json of org/model is not in", str(failure.value))
        self.assertEqual([], self.web.asked)

    def test_real_client(self) -> None:
        """The client that is used outside of tests is Twisted's, on the reactor that is given."""
        asked: list[Any] = []

        def request(*arguments: Any) -> Deferred[Any]:
            asked.append(arguments[1:3])
            return Deferred()

        self.patch(Agent, "request", request)
        work = Deferred.fromCoroutine(
            web.web_client(MemoryReactorClock()).request("GET", web.Remote("http://data.test/d"), {})
        )
        self.assertEqual([(b"GET", b"http://data.test/d")], asked)
        self.assertNoResult(work)


class Reactor(MemoryReactorClock):
    """Remembers that it was stopped."""

    stopped = 0

    def stop(self) -> None:
        """Count."""
        self.stopped += 1


class PreparationTests(SynchronousTestCase):
    """The service that gets it."""

    def setUp(self) -> None:
        """Make a daemon that lacks something."""
        self.reactor = Reactor()
        self.getting: Deferred[None] = Deferred()
        self.left: list[int] = []
        self.top = MultiService()
        self.rank = Service()
        Preparation(self.wait, self.build, self.reactor, self.left.append).setServiceParent(self.top)

    async def wait(self) -> None:
        """Get what is missing."""
        await self.getting

    def build(self, parent: MultiService) -> None:
        """Build a rank."""
        self.rank.setServiceParent(parent)

    def start(self) -> list[str]:
        """Start the daemon, and run what has been put off.

        :return: what it has logged.
        """
        self.top.startService()
        with capturedLogs() as events:
            for _, function, arguments, keywords in self.hooks():
                function(*arguments, **keywords)
            self.reactor.advance(0)
        return [event["log_format"].format(**event) for event in events]

    def hooks(self) -> list[Any]:
        """List what waits for the reactor to run."""
        return [(0, *hook) for hook in self.reactor.whenRunningHooks]

    def test_built(self) -> None:
        """When everything is there the rest is built and started."""
        self.start()
        self.assertFalse(self.rank.running)
        self.getting.callback(None)
        self.reactor.advance(0)
        self.assertTrue(self.rank.running)
        self.assertEqual(([], 0), (self.left, self.reactor.stopped))
        self.top.stopService()
        self.assertFalse(self.rank.running)

    def test_failed(self) -> None:
        """When something cannot be had there is one line that says what, and status 1."""
        self.getting.errback(Unprepared("there is none"))
        self.assertEqual(["Cannot start: there is none."], self.start())
        self.assertEqual(([1], 1, False), (self.left, self.reactor.stopped, self.rank.running))

    def test_broken(self) -> None:
        """An error of ours ends the daemon too."""
        self.getting.errback(ZeroDivisionError("oh"))
        self.start()
        self.assertEqual(([1], 1, False), (self.left, self.reactor.stopped, self.rank.running))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_not_built(self) -> None:
        """So does a rank that cannot be built."""
        for error, count in ((StartError("tcp:1", "in use"), 0), (ZeroDivisionError("oh"), 1)):

            def fail(_: MultiService, error: BaseException = error) -> None:
                raise error

            self.setUp()
            self.top = MultiService()
            Preparation(self.wait, fail, self.reactor, self.left.append).setServiceParent(self.top)
            self.getting.callback(None)
            lines = self.start()
            self.assertEqual(([1], 1), (self.left, self.reactor.stopped))
            self.assertIn("Cannot start: " + ("cannot listen on 'tcp:1': in use." if not count else "oh."), lines)
            self.assertEqual(count, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_stopped(self) -> None:
        """A daemon that is stopped meanwhile gets nothing more, builds nothing, and ends well."""
        cancelled: list[Any] = []
        self.getting = Deferred(cancelled.append)
        self.start()
        stopped = self.top.stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.reactor.advance(0)
        self.assertEqual((1, [], 0, False), (len(cancelled), self.left, self.reactor.stopped, self.rank.running))

    def test_stopped_at_the_last_moment(self) -> None:
        """So does one that is stopped when everything is there, or before it has begun."""
        self.getting.callback(None)
        self.top.startService()
        [(_, begin, _, _)] = self.hooks()
        begin()
        self.top.stopService()
        self.reactor.advance(0)
        self.assertFalse(self.rank.running)
        self.getting = Deferred()
        begin()
        self.assertEqual([], self.reactor.getDelayedCalls())


class LayerTests(SynchronousTestCase):
    """What the start costs."""

    def test_light(self) -> None:
        """A daemon that lacks nothing imports nothing that downloads."""
        text = Path(preparing.__file__).read_text()
        top = [line for line in text.splitlines() if line.startswith(("import", "from"))]
        self.assertEqual([], [line for line in top if "treq" in line or "downloading" in line])
