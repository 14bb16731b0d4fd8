"""Whatever a client's schema is composed of, what the whole rank answers conforms to it."""

import json
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for

from tests.harness import Exchange, RankTestCase
from tests.structured.strategies import schemas

SEEDS = st.integers(0, 2**32)


class StructurePropertyTests(RankTestCase):
    """Any schema of the keywords that are supported, judged by a validator that has nothing in common with ours."""

    def setUp(self) -> None:
        """Have a rank that has room for long values."""
        self.make_rank("--max-model-len", "100000")

    def assertConforms(self, schema: Any, text: str) -> None:
        """Check a text against a schema."""
        kind = validator_for(schema)
        errors = kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(json.loads(text))
        self.assertEqual([], [error.message for error in errors], (schema, text))

    def served(self, exchange: Exchange) -> None:
        """Make sure that there is an answer.

        A few schemas in ten thousand take more work than a client may have done for him, and are refused for that;
        with many of them the tests would fail for want of examples.
        """
        exchange.drop()
        self.exchanges.clear()
        assume(exchange.status != 400 or b"it takes too many steps" not in exchange.body)
        self.assertEqual(200, exchange.status, exchange.body)

    def choice(self, exchange: Exchange) -> Any:
        """Read the choice of an answer that came whole."""
        self.served(exchange)
        return exchange.json()["choices"][0]

    def deltas(self, exchange: Exchange) -> list[Any]:
        """Read the deltas of an answer that came as a stream, up to its end."""
        self.served(exchange)
        *chunks, done = exchange.events()
        self.assertEqual("[DONE]", done)
        return [chunk["choices"][0] for chunk in chunks]

    @settings(max_examples=150, deadline=None)
    @given(schemas(), SEEDS)
    def test_arguments(self, schema: Any, seed: int) -> None:
        """The arguments of a call satisfy the tool's parameters, and are the same streamed."""
        fields: dict[str, Any] = {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
            "tool_choice": "required",
            "seed": seed,
        }
        choice = self.choice(self.chat(**fields))
        self.assertEqual("tool_calls", choice["finish_reason"])
        [call] = choice["message"]["tool_calls"]
        self.assertConforms(schema, call["function"]["arguments"])
        deltas = self.deltas(self.chat(**fields, stream=True))
        calls = [call for delta in deltas for call in delta["delta"].get("tool_calls", ())]
        self.assertEqual({"name": "f"}, calls[0]["function"])
        streamed = "".join(call["function"]["arguments"] for call in calls[1:])
        self.assertEqual(call["function"]["arguments"], streamed)
        self.assertEqual("tool_calls", deltas[-1]["finish_reason"])

    @settings(max_examples=150, deadline=None)
    @given(schemas(), SEEDS)
    def test_outputs(self, schema: Any, seed: int) -> None:
        """Structured outputs satisfy their schema, in whichever of the fields it is, streamed too."""
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        text = self.choice(self.chat(response_format=form, seed=seed))["message"]["content"]
        self.assertConforms(schema, text)
        for given_schema in (schema, json.dumps(schema)):
            deltas = self.deltas(self.chat(structured_outputs={"json": given_schema}, seed=seed, stream=True))
            self.assertEqual(text, "".join(delta["delta"]["content"] for delta in deltas))
        constraints = {"json": schema}
        completed = self.choice(self.complete(structured_outputs=constraints, seed=seed, max_tokens=50_000))
        self.assertEqual((text, "stop"), (completed["text"], completed["finish_reason"]))
