"""What operators want to have changed, and what is wrong with that."""

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.edits import read_edit
from vllmsim.config.option import Option
from vllmsim.config.schema import Configuration, own_options
from vllmsim.config.wording import NOT_LIVE, RULES, VALUES
from vllmsim.errors import InvalidRequest


class EditTests(SynchronousTestCase):
    """Values by option name."""

    configuration = load_words(["--time-to-first-token", "2s", "--fake-metrics", '{"running-requests": 1}'], {})

    def applied(self, **values: Any) -> tuple[Configuration, str]:
        """Apply values, with ``_`` for ``-`` in their names, and see what is wrong."""
        edit = read_edit({name.replace("_", "-"): value for name, value in values.items()})
        changed, faults = edit.applied(self.configuration.configuration, self.configuration.values)
        return changed, "; ".join(fault for _, fault in faults)

    def faults(self, **values: Any) -> str:
        """See what is wrong with values."""
        return self.applied(**values)[1]

    def test_files(self) -> None:
        """Of files only those with keys can be named: what is in others is told nobody."""
        text = self.faults(step_profile="/etc/passwd")
        self.assertEqual("step-profile: a file can be named where the server is started alone", text)
        self.assertEqual("", self.faults(step_profile=[{"decodes": 1, "time": "3ms"}]))

    def test_values(self) -> None:
        """A value is read as from a file: durations as text or numbers of milliseconds, lists, texts, numbers."""
        changed, faults = self.applied(
            inter_token_latency=20,
            time_to_first_token="1.5s",
            failure_types=["rate_limit"],
            latency_calculator="constant",
            time_factor_under_load=2,
        )
        expected = evolve(
            self.configuration.configuration,
            inter_token_latency=0.02,
            time_to_first_token=1.5,
            failure_types=("rate_limit",),
            latency_calculator="constant",
            time_factor_under_load=2.0,
        )
        self.assertEqual((expected, ""), (changed, faults))

    def test_null(self) -> None:
        """Null leaves an option as it is; an empty list empties it."""
        self.assertEqual((self.configuration.configuration, ""), self.applied(time_to_first_token=None))
        self.assertEqual((), self.applied(failure_types=[])[0].failure_types)

    def test_spelling(self) -> None:
        """A name may be spelled as elsewhere, and must be there once."""
        edit = read_edit({"failure_injection_rate": 5, "failure-injection-rate": 6})
        self.assertEqual([("failure-injection-rate", "failure-injection-rate: is there twice")], edit.faults)
        self.assertEqual({"failure_injection_rate": 5}, edit.values)

    def test_not_live(self) -> None:
        """Only options that may change live are taken, null or not; others get llm-d-inference-sim's words."""
        for value in (9000, None):
            self.assertEqual("field 'port' is not admin-configurable", self.faults(port=value))
        self.assertEqual(
            "field 'inter-token-latenc' is not admin-configurable; did you mean inter-token-latency?",
            self.faults(inter_token_latenc=1),
        )
        for option in own_options():
            fault = NOT_LIVE.format(option.name)
            self.assertEqual(not option.live, fault in self.faults(**{option.attribute: option.default}), option.name)

    def test_none(self) -> None:
        """An option that had no value at first can have none again."""
        limited = evolve(self.configuration.configuration, max_num_queued_reqs=5, max_num_queued_tokens=5)
        edit = read_edit({"max-num-queued-reqs": "none", "max-num-queued-tokens": "none"})
        self.assertEqual((self.configuration.configuration, []), edit.applied(limited, ()))

    def test_many(self) -> None:
        """However many fields are unknown, and however long, no time goes into finding out what was meant."""
        wrong = {f"inter-token-latenc{i}": 1 for i in range(500)}
        faults = [fault for _, fault in read_edit(wrong).faults]
        self.assertEqual((500, 3), (len(faults), sum("did you mean" in fault for fault in faults)))
        [(_, fault)] = read_edit({"inter-token-latency" + "-" * 100: 1}).faults
        self.assertNotIn("did you mean", fault)
        error = self.assertRaises(InvalidRequest, read_edit, {**wrong, "port": 1})
        self.assertEqual("501 fields are more than there are options.", error.message)

    def test_durations(self) -> None:
        """A duration that is none names its field in llm-d-inference-sim's manner, also where it could not change."""
        for name in ("time-to-first-token", "startup-duration"):
            wrongs: tuple[Any, ...] = (
                "notaduration", "", True, [], {}, "-1ms", float("nan"), 10**400,
            )  # fmt: skip
            for wrong in wrongs:
                [(key, fault)] = read_edit({name: wrong}).faults
                self.assertEqual(name, key)
                self.assertTrue(fault.startswith(f'field "{name}": '), fault)
        self.assertIn("(time to first token cannot be negative)", self.faults(time_to_first_token="-1ms"))
        self.assertNotIn("cannot be negative", self.faults(time_to_first_token="x"))

    def test_words(self) -> None:
        """A wrong value is shown, with what is allowed and with llm-d-inference-sim's words."""
        for values, words in (
            ({"failure_injection_rate": 150}, "failure injection rate should be between 0 and 100"),
            ({"failure_injection_rate": -10}, "-10 will not do: it must be an integer from 0 to 100"),
            ({"failure_types": ["rate_limit", "bogus"]}, "(invalid failure type 'bogus', valid types are: rate_limit,"),
            ({"image_emission_rate": "x"}, "image emission rate should be between 0 and 100"),
            (
                {"latency_calculator": "he llo"},
                "unknown latency-calculator he llo, supported calculators are: constant",
            ),
            ({"time_factor_under_load": 0}, "time factor under load cannot be less than 1.0"),
            ({"time_to_first_token": "1ms", "time_to_first_token_std_dev": "0.5ms"}, "more than 30% of time to first"),
            ({"inter_token_latency_std_dev": 1}, "inter token latency standard deviation cannot be more than 30% of"),
        ):
            self.assertIn(words, self.faults(**values))

    def test_parts(self) -> None:
        """Fake metrics change by their members, and stay whole."""
        changed, faults = self.applied(fake_metrics={"kv-cache-usage": 0.5, "running-requests": None})
        assert changed.fake_metrics is not None
        self.assertEqual(
            ("", 1.0, 0.5), (faults, changed.fake_metrics.running_requests, changed.fake_metrics.kv_cache_usage)
        )
        self.assertIn("fake-metrics.kv-cache-usage: must be", self.faults(fake_metrics={"kv-cache-usage": 40}))
        self.assertIn("it is not a map", self.faults(fake_metrics=[1]))

    def test_all_words(self) -> None:
        """Words are there for live options, and for options that are."""
        options = {option.name: option for option in own_options()}
        self.assertEqual(set(), (VALUES.keys() | RULES.keys()) - options.keys())

    def test_long(self) -> None:
        """What is long is not repeated whole."""
        self.assertLess(len(self.faults(failure_types=["x" * 10**5])), 1500)
        self.assertLess(len(self.faults(**{"y" * 10**5: 1})), 500)

    def test_together(self) -> None:
        """All that is wrong is told together, and a wrong value is not blamed again for what it leads to."""
        said = self.faults(
            port=1, failure_injection_rate=101, time_to_first_token="x", time_to_first_token_std_dev=5000
        )
        self.assertEqual(3, len(said.split("; ")), said)
        self.assertNotIn("30%", said)

    def test_numbers_of_any_kind(self) -> None:
        """No value that JSON can say breaks anything."""
        values: tuple[Any, ...] = (
            None,
            True,
            -1,
            10**30,
            1e308,
            float("nan"),
            float("inf"),
            "",
            "x",
            "\ud800",
            [],
            [[]],
            [None],
            {},
            {"a": 1},
        )
        live = [option for option in own_options() if option.live]
        for option in live:
            for value in values:
                self._try(option, value)

    def _try(self, option: Option, value: Any) -> None:
        changed, fault = self.applied(**{option.attribute: value})
        if not fault:
            written = (
                option.kind.to_value(getattr(changed, option.attribute))
                if getattr(changed, option.attribute) is not None
                else None
            )
            self.assertEqual("", self.faults(**{option.attribute: written}))
