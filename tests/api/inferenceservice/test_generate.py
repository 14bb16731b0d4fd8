"""How requests of vllm.Inference are read."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import settings
from vllmsim.api.body import Head
from vllmsim.api.inferenceservice.generate import InferenceDialect
from vllmsim.api.inferenceservice.messages import GenerateRequest
from vllmsim.errors import InferenceError
from vllmsim.inference import Cut, InferenceRequest, TextPrompt, TokenPrompt
from vllmsim.models import ModelCatalogue
from vllmsim.sampling import Sampling
from vllmsim.structure import ChoiceOutput, JsonOutput, RegexOutput

HEAD = Head("application/grpc")


def catalogue() -> ModelCatalogue:
    """Serve a model under two names, and two adapters."""
    models = ModelCatalogue("/models/m1", ("m1", "m2"))
    models.add("poet", "/loras/poet", None)
    models.add("painter", "/loras/painter", None)
    return models


class ReadingTestCase(SynchronousTestCase):
    """Reads requests."""

    def read(self, head: Head = HEAD, *, streams: bool = False, **members: Any) -> InferenceRequest:
        """Read a request; one that says nothing of a prompt has a text."""
        if not {"text", "token_ids"} & set(members):
            members["text"] = "hello"
        dialect = InferenceDialect(settings(models=catalogue(), ranks=(0, 1)), 64, streams)
        return dialect.parse(GenerateRequest(**members).SerializeToString(), head).request

    def assertRefused(self, status: int, words: str, **members: Any) -> None:
        """Check that a request is refused, and what its client is told."""
        error = self.assertRaises(InferenceError, self.read, **members)
        self.assertIn(words, error.message)
        self.assertEqual(status, error.status)


class PromptTests(ReadingTestCase):
    """What is to be continued."""

    def test_text(self) -> None:
        """A prompt is a text."""
        self.assertEqual((TextPrompt("once"),), self.read(text="once").prompts)

    def test_ids(self) -> None:
        """A prompt is token ids."""
        self.assertEqual((TokenPrompt((7, 8)),), self.read(token_ids={"ids": [7, 8]}).prompts)

    def test_none(self) -> None:
        """A request without a prompt, or with an empty one, is refused."""
        self.assertRefused(400, "Either text or token_ids must be provided", text="")
        self.assertRefused(400, "Either text or token_ids must be provided", token_ids={})

    def test_too_long(self) -> None:
        """More token ids than the context has are refused, unless they are to be cut."""
        self.assertRefused(400, "your prompt contains 70 input tokens", token_ids={"ids": [1] * 70})
        read = self.read(token_ids={"ids": [1] * 70}, truncate_prompt_tokens=8)
        self.assertEqual(Cut(8, "left"), read.cut)
        read = self.read(token_ids={"ids": range(1, 71)}, truncate_prompt_tokens=8)
        self.assertEqual((TokenPrompt(tuple(range(7, 71))),), read.prompts)

    def test_media(self) -> None:
        """Media are refused as what is not simulated."""
        self.assertRefused(501, "not simulated", media=[b"png"])

    def test_broken(self) -> None:
        """Bytes that are no message are refused."""
        dialect = InferenceDialect(settings(), 64, streams=False)
        error = self.assertRaises(InferenceError, dialect.parse, b"\x1a\x05x", HEAD)
        self.assertEqual(500, error.status)


class ModelTests(ReadingTestCase):
    """What is to answer."""

    def test_names(self) -> None:
        """The model goes by any of its names, or by none; an adapter by its own."""
        self.assertEqual(["m1", "m1", "m1"], [self.read(model=name).model for name in ("", "m1", "m2")])
        self.assertEqual("m2", self.read(model="m2").asked)
        self.assertIsNone(self.read().asked)

    def test_adapter(self) -> None:
        """An adapter is named as the model, or beside that."""
        for model, name in (("poet", ""), ("", "poet"), ("m2", "poet")):
            read = self.read(model=model, lora_name=name)
            self.assertEqual(("poet", "poet", "poet"), (read.model, read.asked, read.adapter and read.adapter.name))

    def test_unknown(self) -> None:
        """A model or an adapter that is not served is not found; the model's own name is no adapter's."""
        self.assertRefused(404, "The model `m3` does not exist", model="m3")
        self.assertRefused(404, "The lora adapter 'm3' cannot be found", lora_name="m3")
        self.assertRefused(404, "The lora adapter 'm1' cannot be found", lora_name="m1")

    def test_two_adapters(self) -> None:
        """Two adapters at once are refused."""
        self.assertRefused(400, "another adapter", model="painter", lora_name="poet")


class SamplingTests(ReadingTestCase):
    """How answers are chosen, and where they end."""

    def test_usual(self) -> None:
        """A request that says nothing is answered once, with 20 tokens at most, and nothing else is unusual."""
        self.assertEqual(Sampling(max_tokens=20), self.read().sampling)

    def test_said(self) -> None:
        """What a request says is what holds; a temperature and a seed may be 0."""
        read = self.read(
            temperature=0,
            sampling={"num_sequences": 2, "top_k": 3, "top_p": 0.5, "min_p": 0.25, "seed": 0},
            decoding={
                "presence_penalty": 0.5,
                "frequency_penalty": -0.5,
                "repetition_penalty": 1.5,
                "logit_bias": {7: 1.5},
                "allowed_token_ids": [7, 8],
            },
            stopping={
                "max_new_tokens": 9,
                "min_new_tokens": 2,
                "stop_token_ids": [4],
                "stop_strings": ["x", "y"],
                "include_stop_strings": True,
                "ignore_eos": True,
            },
        )
        self.assertEqual(
            Sampling(
                n=2,
                max_tokens=9,
                min_tokens=2,
                stop=("x", "y"),
                stop_token_ids=(4,),
                ignore_eos=True,
                include_stop_str_in_output=True,
                seed=0,
                temperature=0.0,
                top_p=0.5,
                top_k=3,
                min_p=0.25,
                repetition_penalty=1.5,
                presence_penalty=0.5,
                frequency_penalty=-0.5,
                logit_bias=(7,),
                allowed_token_ids=(7, 8),
            ),
            read.sampling,
        )

    def test_logprobs(self) -> None:
        """Log probabilities are computed when they, or candidates, are to be sent back."""
        for response, expected in (
            ({}, (None, None)),
            ({"output_logprobs": True}, (0, None)),
            ({"output_candidates": 3, "prompt_logprobs": True}, (3, 0)),
            ({"prompt_candidates": 2}, (None, 2)),
        ):
            sampling = self.read(response=response).sampling
            self.assertEqual(expected, (sampling.logprobs, sampling.prompt_logprobs))

    def test_stops(self) -> None:
        """More texts to stop at than anybody needs are refused."""
        self.assertRefused(400, "at most 4 strings, got 5", stopping={"stop_strings": ["x"] * 5})


class ConstraintTests(ReadingTestCase):
    """What answers must be made of."""

    def test_constraints(self) -> None:
        """An answer is JSON of a schema, any object, a text that an expression matches, or one of some texts."""
        output = self.read(decoding={"json": '{"type": "integer"}'}).form.output
        assert isinstance(output, JsonOutput)
        self.assertEqual({"type": "integer"}, output.schema)
        self.assertIsInstance(self.read(decoding={"json_object": True}).form.output, JsonOutput)
        self.assertIsNone(self.read(decoding={"json_object": False}).form.output)
        self.assertEqual(RegexOutput("a+"), self.read(decoding={"regex": "a+"}).form.output)
        self.assertEqual(ChoiceOutput(("a", "b")), self.read(decoding={"choice": {"choices": ["a", "b"]}}).form.output)

    def test_refused(self) -> None:
        """What is no schema, no choice, or not simulated is refused."""
        self.assertRefused(400, "The JSON schema is no JSON object", decoding={"json": "7"})
        self.assertRefused(400, "at least one", decoding={"choice": {}})
        self.assertRefused(400, "Grammars are not simulated", decoding={"grammar": "root ::= a"})
        self.assertRefused(400, "Structural tags are not simulated", decoding={"structural_tag": "{}"})


class RestTests(ReadingTestCase):
    """What else a request says."""

    def test_cache(self) -> None:
        """A request may pass the prefix cache by, or share it with those who have its salt."""
        read = self.read(kv={"bypass_prefix_cache": True, "cache_salt": "pepper"})
        self.assertEqual((False, "pepper"), (read.reads_cache, read.cache_salt))
        self.assertEqual((True, None), (self.read().reads_cache, self.read().cache_salt))
        self.assertFalse(self.read(response={"prompt_logprobs": True}).reads_cache)
        self.assertRefused(400, "cache_salt", kv={"cache_salt": "a/b"})

    def test_transfer(self) -> None:
        """A request may say that another server has computed its prompt, or part of it."""
        params = {"do_remote_prefill": True, "remote_num_tokens": 33, "remote_host": "x", "more": [{"a": None}]}
        read = self.read(kv={"kv_transfer_params": params})
        self.assertEqual((True, 33), (read.remote_prefill, read.remote_tokens))
        self.assertRefused(400, "bool", kv={"kv_transfer_params": {"do_remote_prefill": {"a": 1}}})
        self.assertRefused(400, "int", kv={"kv_transfer_params": {"remote_num_tokens": 1.5}})
        nothing = self.read(kv={"kv_transfer_params": {"do_remote_prefill": None}})
        self.assertFalse(nothing.remote_prefill)

    def test_identity(self) -> None:
        """A request is called what it says, or else what is said beside it; how urgent it is is the other way round."""
        read = self.read(request_id="r1", priority=-3, session_id="s")
        self.assertEqual(("r1", True, -3), (read.answer_id, read.named_by_client, read.priority))
        self.assertEqual(("0123456789abcdef", False), (self.read().answer_id, self.read().named_by_client))
        head = Head(request_id="r2", priority="5", data_parallel_rank="1")
        read = self.read(head, request_id="r1", priority=-3)
        self.assertEqual(("r1", 5, 1), (read.answer_id, read.priority, read.rank))
        self.assertEqual("r2", self.read(head).answer_id)

    def test_named(self) -> None:
        """What a request says of itself is known whatever is wrong with it, so that it can be made to fail."""
        for model, lora, expected in (("", "", None), ("m9", "", "m9"), ("m1", "poet", "poet")):
            body = GenerateRequest(model=model, lora_name=lora, media=[b"x"]).SerializeToString()
            for streams in (False, True):
                named = InferenceDialect(settings(), 64, streams).named(body, HEAD)
                self.assertEqual((expected, streams), (named.model, named.streamed))
