"""JSON values."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.structured.values import TYPES, Budget, JsonValue, Ranges, Refusal, has_type, identity, json_text


class ValueTests(SynchronousTestCase):
    """What can be asked about values."""

    def test_text(self) -> None:
        """Arguments of calls are written as vLLM writes them, in every script."""
        self.assertEqual(
            '{"city": "Köln", "days": [1, 2.5, null, true]}', json_text({"city": "Köln", "days": [1, 2.5, None, True]})
        )

    def test_types(self) -> None:
        """A value has JSON Schema's types; true is no number, and 3.0 is an integer."""
        values: dict[JsonValue, set[str]] = {
            "a": {"string"},
            3: {"integer", "number"},
            3.5: {"number"},
            4.0: {"integer", "number"},
            True: {"boolean"},
            None: {"null"},
        }
        for value, names in values.items():
            self.assertEqual(names, {name for name in TYPES if has_type(value, name)})
        self.assertTrue(has_type([], "array"))
        self.assertTrue(has_type({}, "object"))

    def test_identity(self) -> None:
        """Values are the same when JSON Schema takes them for equal."""
        same: list[tuple[JsonValue, JsonValue]] = [
            (1, 1.0),
            ([1, {"a": 2}], [1.0, {"a": 2.0}]),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ]
        for one, other in same:
            self.assertEqual(identity(one), identity(other))
        different: list[JsonValue] = [1, True, "1", [1], [True], None, 0, False, [], {}, {"a": 1}, ["a", 1], [[1]], ""]
        self.assertEqual(len(different), len(set(map(identity, different))))

    def test_ranges(self) -> None:
        """A probability is from 0 to 1, and a length is not negative."""
        for wrong in ({"optional_probability": 1.5}, {"optional_field_probability": -0.1}, {"array_least": -1}):
            self.assertRaises(ValueError, evolve, Ranges(), **wrong)

    def test_budget(self) -> None:
        """Work ends where its budget does."""
        budget = Budget(3)
        budget.spend()
        budget.spend(2)
        self.assertRaises(Refusal, budget.spend)
