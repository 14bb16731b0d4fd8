"""Plugins are found and made."""

import random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.dropins import drop_in
from tests.fakes import in_thread
from vllmsim.interfaces import ILatencyModel
from vllmsim.interfaces.plugins import IFailureFactory, ILatencyModelFactory, IResponseSourceFactory, Surroundings
from vllmsim.plugins.registry import PluginError, create, find, search

MODEL = """
from tests.fakes import FixedLatency
"""


def surroundings(**options: Any) -> Surroundings:
    """Make what a plugin finds."""
    return Surroundings(
        options=options, generator=random.Random(0), clock=Clock(), defer_to_thread=in_thread, rank=0, model="m"
    )


class RegistryTests(SynchronousTestCase):
    """The search."""

    def assertRefused(self, text: str, name: str, **options: Any) -> None:
        """Have a latency model not be made, and look whether a text says why."""
        with self.assertRaises(PluginError) as caught:
            create(ILatencyModelFactory, name, surroundings(**options))
        self.assertIn(text, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_found(self) -> None:
        """A plugin is a factory in a module of the package, which makes what the configuration names."""
        path = drop_in(
            self, one=MODEL + 'slow = offer(ILatencyModelFactory, "slow", lambda s: FixedLatency(s.options["by"]))'
        )
        plugin = find(ILatencyModelFactory, "slow")
        self.assertEqual(("slow", "Is made for a test.", f"{path}/one.py"), (plugin.name, plugin.help, plugin.file))
        made = create(ILatencyModelFactory, "slow", surroundings(by=3.0))
        self.assertTrue(verifyObject(ILatencyModel, made))
        self.assertEqual(3.0, made.time_to_first_token(1, 0, False, 1, random.Random(0)))

    def test_imported_twice(self) -> None:
        """A factory that another module imports, or that has two names in one, is one plugin."""
        drop_in(
            self,
            one='both = offer(ILatencyModelFactory, "both", None)\nagain = both\n',
            two="from vllmsim.plugins.one import both",
        )
        self.assertEqual("both", find(ILatencyModelFactory, "both").name)

    def test_two_seams(self) -> None:
        """A factory may be of two kinds."""
        drop_in(
            self,
            one="@implementer(IPlugin, ILatencyModelFactory, IFailureFactory)\nclass Both(Factory):\n    pass\n"
            'both = Both("both", None)',
        )
        for seam in (ILatencyModelFactory, IFailureFactory):
            self.assertEqual("both", find(seam, "both").name)

    def test_unknown(self) -> None:
        """A name that nothing has is told with those that there are, and with the one that was meant."""
        drop_in(self, one='a = offer(ILatencyModelFactory, "tidal", None)\nb = offer(IFailureFactory, "tide", None)')
        self.assertRefused(
            "there is no latency model 'tidel'; there are constant, per-token, tidal; did you mean tidal?", "tidel"
        )
        with self.assertRaisesRegex(PluginError, "there is no failure 'x'; there is tide$"):
            find(IFailureFactory, "x")
        with self.assertRaisesRegex(PluginError, "did you mean echo"):
            find(IResponseSourceFactory, "ecko")

    def test_nothing(self) -> None:
        """Where there is nothing at all, that is told."""
        with self.assertRaisesRegex(PluginError, "there is no failure 'x'; there is none at all$"):
            find(IFailureFactory, "x")

    def test_twice(self) -> None:
        """Two plugins of one kind and name are told with their files, when they are wanted."""
        line = 'a = offer(ILatencyModelFactory, "tidal", None)'
        path = drop_in(self, one=line, two=line)
        self.assertRefused(f"'tidal': in {path}/one.py and in {path}/two.py", "tidal")

    def test_broken_modules(self) -> None:
        """A module that cannot be imported is named to who misses a plugin, and to nobody else."""
        path = drop_in(
            self,
            bad="1 / 0",
            worse="raise SystemExit('gone')",
            worst="def",
            good=MODEL + 'fine = offer(ILatencyModelFactory, "fine", lambda s: FixedLatency())',
        )
        create(ILatencyModelFactory, "fine", surroundings())
        self.assertRefused(f"{path}/bad.py is broken: ZeroDivisionError: division by zero", "missing")
        self.assertRefused(f"{path}/worse.py is broken: SystemExit: gone", "missing")
        self.assertRefused(f"{path}/worst.py is broken: SyntaxError: ", "missing")

    def test_no_factory(self) -> None:
        """What is declared a plugin and is none is told likewise."""
        path = drop_in(
            self,
            one="@implementer(IPlugin)\nclass Thing:\n    pass\nthing = Thing()\n"
            'blank = offer(ILatencyModelFactory, "a b", None)\nnone = offer(ILatencyModelFactory, None, None)\n'
            'ours = offer(ILatencyModelFactory, "constant", None)',
        )
        self.assertEqual([], search()[0])
        self.assertRefused(f"{path}/one.py is broken: thing is a plugin, and no factory of any kind", "x")
        self.assertRefused("blank has no name that a plugin can have", "x")
        self.assertRefused("none has no name that a plugin can have", "x")
        self.assertRefused("ours is called constant, as one of the program's own", "x")

    def test_not_made(self) -> None:
        """A plugin that makes nothing of the kind is named with its file and the reason, on one line."""
        path = drop_in(
            self,
            one="""
def broken(surroundings):
    raise RuntimeError("first\\n\\x1b[2Jsecond")
def leaves(surroundings):
    raise SystemExit
broken = offer(ILatencyModelFactory, "broken", broken)
leaves = offer(ILatencyModelFactory, "leaves", leaves)
none = offer(ILatencyModelFactory, "none", lambda s: None)
half = offer(ILatencyModelFactory, "half", lambda s: implementer(ILatencyModel)(type("Half", (), {}))())
number = offer(ILatencyModelFactory, "number", 1)
""",
        )
        self.assertRefused(
            f"model broken in {path}/one.py cannot be made: RuntimeError: first ?[2Jsecond ({path}/one.py:20)", "broken"
        )
        self.assertRefused("cannot be made: SystemExit", "leaves")
        self.assertRefused(f"model none in {path}/one.py makes no ILatencyModel", "none")
        self.assertRefused("makes half of one: The object", "half")
        self.assertRefused("cannot be made: TypeError", "number")

    def test_options(self) -> None:
        """A plugin says what is wrong with its options, and what it does not look at is told to be none."""
        drop_in(
            self,
            one=MODEL
            + """
def create(surroundings):
    if surroundings.options.get("factor", 1) < 0:
        raise ValueError("factor must not be negative")
    return FixedLatency()
one = offer(ILatencyModelFactory, "one", create)
""",
        )
        create(ILatencyModelFactory, "one", surroundings(factor=2))
        self.assertRefused("the latency model one says: factor must not be negative", "one", factor=-1)
        self.assertRefused("one says: 'facter' is no option of it; did you mean factor?", "one", facter=-1)

    def test_all_options(self) -> None:
        """Who takes all options has looked at each."""
        drop_in(
            self,
            one=MODEL + 'one = offer(ILatencyModelFactory, "one", lambda s: FixedLatency(**s.options))\n'
            'two = offer(ILatencyModelFactory, "two", lambda s: FixedLatency(dict(s.options)["prefill"]))',
        )
        for name in ("one", "two"):
            create(ILatencyModelFactory, name, surroundings(prefill=1))
        self.assertRefused("cannot be made: TypeError", "one", prefil=1)
