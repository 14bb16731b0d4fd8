"""When HTTP/2 is spoken, and how it is learned."""

import subprocess
import sys
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.assembly import speaking
from vllmsim.assembly.speaking import GrpcError, Speaking, can_speak
from vllmsim.web.http2.connection import Http2


class WhetherTests(SynchronousTestCase):
    """Whether HTTP/2 is spoken."""

    def test_there(self) -> None:
        """It is where its packages are, unless the operator wants none."""
        self.assertEqual([True, True, False], [can_speak(wanted) for wanted in (None, True, False)])

    def test_missing(self) -> None:
        """Where a package is missing it is not; who asks for it hears what to install."""
        with patch.object(speaking, "_PACKAGES", ("h2", "no_such.package")):
            self.assertEqual([False, False], [can_speak(wanted) for wanted in (None, False)])
            error = self.assertRaises(GrpcError, can_speak, True)
        self.assertIn("pip install 'vllmsim[grpc]'", str(error))
        self.assertIn("no_such.package", str(error))


class LearningTests(SynchronousTestCase):
    """How it is learned."""

    def test_start(self) -> None:
        """A start imports nothing of it, and it is there all the same."""
        code = (
            "import sys, vllmsim.service; "
            "print([n for n in sys.modules if n.partition('.')[0] in {'h2', 'google', 'smg_grpc_proto', 'grpc'}]); "
            "import h2.connection"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        self.assertEqual("[]\n", done.stdout)

    def test_once(self) -> None:
        """The first connections wait while it is imported in a thread; all get the same, and later ones at once."""
        asked: list[Any] = []
        loading: Deferred[Any] = Deferred()

        def threads(function: Any, *arguments: Any) -> Deferred[Any]:
            asked.append((function, arguments))
            return loading

        learn = Speaking(None, threads)
        first, second = learn(), learn()
        self.assertNoResult(first)
        [(function, arguments)] = asked
        loading.callback(function(*arguments))
        results = [self.successResultOf(each) for each in (first, second, learn())]
        self.assertEqual([results[0]] * 3, results)
        self.assertIsInstance(results[0], Http2)
        self.assertEqual(1, len(asked))
        self.assertEqual(frozenset(), learn.working())

    def test_fails(self) -> None:
        """Where it cannot be imported all who wait hear why, and the next one tries again."""
        with patch.dict(sys.modules, {"vllmsim.web.http2.connection": None}):
            learn = Speaking(None, in_thread)
            self.failureResultOf(learn(), ImportError)
        self.assertIsInstance(self.successResultOf(learn()), Http2)
