"""Prompts that vllm.Inference continues, as its clients see it."""

import json
from typing import Any

from tests.grpc.frontend import FrontEndTestCase
from vllmsim.api.inferenceservice.messages import FinishInfo, GenerateRequest
from vllmsim.grpc.status import Code

LABELS = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'


class WholeTests(FrontEndTestCase):
    """Answers in one message."""

    def setUp(self) -> None:
        """Have a rank that says what it is told."""
        self.make_rank("--mode", "echo", "--lora-modules", "poet=/p")

    def only(self, **members: Any) -> Any:
        """Have a prompt continued, and find the only message that comes."""
        called = self.generate(**members)
        self.assertEqual((Code.OK, "", True), (called.code, called.text, called.stream.ended))
        (message,) = called.messages
        return message

    def test_text(self) -> None:
        """A text is continued, and the answer has text."""
        message = self.only(text="one two three")
        self.assertEqual(["one two three"], [each.text for each in message.outputs])
        self.assertEqual(3, message.prompt_info.num_prompt_tokens)

    def test_ids(self) -> None:
        """Token ids are continued, and the answer has token ids if they are asked for."""
        ids = self.only(text="one two", response={"prompt_token_ids": True}).prompt_info.token_ids
        message = self.only(token_ids={"ids": ids}, response={"output_token_ids": True, "output_text": False})
        (output,) = message.outputs
        self.assertEqual((list(ids), ""), (list(output.token_ids[:2]), output.text))

    def test_limit(self) -> None:
        """An answer has 20 tokens at most, unless the request says otherwise."""
        words = " ".join(["word"] * 40)
        for stopping, expected in (({}, 20), ({"max_new_tokens": 30}, 30)):
            finish = self.only(text=words, stopping=stopping).outputs[0].finish_info
            self.assertEqual((FinishInfo.LENGTH, expected), (finish.finish_reason, finish.num_output_tokens))

    def test_choices(self) -> None:
        """A request may want several answers."""
        message = self.only(sampling={"num_sequences": 3})
        self.assertEqual([0, 1, 2], [each.index for each in message.outputs])

    def test_stop(self) -> None:
        """A text that ends the answer is told."""
        output = self.only(stopping={"stop_strings": ["two"]}).outputs[0]
        self.assertEqual(("one ", "two"), (output.text, output.finish_info.stop_string))

    def test_adapter(self) -> None:
        """An adapter answers, which the journal and the metrics tell."""
        self.only(lora_name="poet", request_id="r7")
        (record,) = self.rank.journal.records()
        self.assertEqual(("poet", "/vllm.Inference/Generate"), (record.model, record.route))
        self.assertIs(record, self.rank.journal.find("r7"))

    def test_metrics(self) -> None:
        """A call counts as any request, and not as one over HTTP."""
        self.only()
        labels = LABELS.replace("}", ',finished_reason="stop"}')
        names = [f"vllm:request_success_total{each}" for each in (labels, LABELS)]
        page = self.get("/metrics").body.decode()
        self.assertTrue(
            any(line.endswith(" 1.0") for line in page.splitlines() if "request_success_total{" in line), names
        )
        self.assertNotIn("vllm.Inference", page)

    def test_refused(self) -> None:
        """What cannot be served has the status of its error, and its words."""
        for members, code, words in (
            ({"model": "m9"}, Code.NOT_FOUND, "The model `m9` does not exist."),
            ({"temperature": -1}, Code.INVALID_ARGUMENT, "temperature must be non-negative"),
            ({"token_ids": {"ids": [2**32 - 1] * 1025}}, Code.INVALID_ARGUMENT, "maximum context length"),
            ({"media": [b"x"]}, Code.UNIMPLEMENTED, "not simulated"),
            ({"sampling": {"num_sequences": 2**32 - 1}}, Code.INVALID_ARGUMENT, "n must be at most 16384"),
        ):
            called = self.generate(**members)
            self.assertEqual((code, []), (called.code, called.messages))
            self.assertIn(words, called.text)

    def test_broken(self) -> None:
        """A message that is none of the method's is answered as a fault of the server's, as gRPC has it."""
        called = self.generate_with(b"\x1a\x05x")
        self.assertEqual(Code.INTERNAL, called.code)

    def test_failure(self) -> None:
        """A call can be made to fail."""
        called = self.generate_with(GenerateRequest(text="x").SerializeToString(), x_return_error="429")
        self.assertEqual(Code.RESOURCE_EXHAUSTED, called.code)

    def test_spoilt(self) -> None:
        """The last message of a stream may be left out, or come twice; it is how the last choice ends."""
        for done, ends in (("missing", 1), ("twice", 3)):
            rules = json.dumps([{"done": done, "header": "x-spoil"}])
            self.make_rank("--mode", "echo", "--failure-rules", rules)
            asked = GenerateRequest(text="one two", sampling={"num_sequences": 2}).SerializeToString()
            called = self.generate_with(asked, "GenerateStream", x_spoil="yes")
            told = [each.HasField("finish_info") for message in called.messages for each in message.outputs]
            self.assertEqual((ends, Code.OK), (sum(told), called.code), done)


class StreamTests(FrontEndTestCase):
    """Answers in pieces."""

    def setUp(self) -> None:
        """Have a rank of one slot, whose tokens come 100 ms apart, the first after a second."""
        self.make_rank(
            "--mode", "echo", "--max-num-seqs", "1", "--time-to-first-token", "1s", "--inter-token-latency", "100ms"
        )

    def test_tokens(self) -> None:
        """Each token has a message, which comes when the token does."""
        called = self.generate("GenerateStream")
        seen = []
        for seconds in (0.9, 0.1, 0.1, 0.1, 0.1):
            self.advance(called, seconds)
            seen.append(["".join(each.text for each in message.outputs) for message in called.messages])
        self.assertEqual([[], ["one "], ["one ", "two "], ["one ", "two ", "three"]], seen[:4])
        last = called.messages[-1].outputs[0].finish_info
        self.assertEqual((FinishInfo.STOP, Code.OK, True), (last.finish_reason, called.code, called.stream.ended))
        self.assertEqual(3, called.messages[0].prompt_info.num_prompt_tokens)

    def test_cancelled(self) -> None:
        """A client that wants no more frees its slot for the next."""
        first, second = self.generate("GenerateStream"), self.generate("GenerateStream")
        self.advance(first, 1)
        self.assertEqual((1, 0), (len(first.messages), len(second.messages)))
        first.stream.cancel()
        self.advance(second, 0, 1)
        self.assertEqual((1, 1), (len(first.messages), len(second.messages)))

    def test_failed(self) -> None:
        """An answer that is aborted says so, and ends well."""
        called = self.generate("GenerateStream", request_id="r1")
        self.advance(called, 1)
        self.assertEqual(1, self.control("Abort", request_ids=["r1"]).messages[0].num_aborted)
        self.advance(called, 0)
        self.assertEqual(FinishInfo.ABORTED, called.messages[-1].outputs[0].finish_info.finish_reason)
        self.assertEqual(Code.OK, called.code)


class CacheTests(FrontEndTestCase):
    """What answers need not compute."""

    def test_bypass(self) -> None:
        """A request that passes the prefix cache by finds nothing there."""
        self.make_rank("--mode", "echo", "--enable-kvcache", "--block-size", "8")
        hits = f"vllm:prefix_cache_hits_total{LABELS}"
        text, found = " ".join(map(str, range(33))), []
        for kv in ({}, {}, {"bypass_prefix_cache": True}, {"cache_salt": "mine"}):
            self.generate(text=text, kv=kv)
            found.append(self.sample(hits))
        self.assertEqual([0, 32, 32, 32], found)


class PoolingTests(FrontEndTestCase):
    """Servers that continue no prompts."""

    def test_unknown(self) -> None:
        """A server that only pools has no such service, and can be operated."""
        self.make_rank("--runner", "pooling")
        self.assertEqual(Code.UNIMPLEMENTED, self.generate().code)
        self.assertEqual(Code.OK, self.control("GetServerInfo").code)
