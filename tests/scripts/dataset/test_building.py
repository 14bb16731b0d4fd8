"""From an input to records."""

import io
import json
from typing import Any

from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from zope.interface import implementer

from tests.fakes import in_thread
from tests.folders import make_folder
from tests.scripts.dataset.test_server import GOOD, Script
from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.inference import Conversation, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.scripts.dataset import output
from vllmsim.scripts.dataset.building import Builder, Wishes
from vllmsim.scripts.dataset.dialogues import Form
from vllmsim.scripts.dataset.faults import BuildError
from vllmsim.scripts.dataset.output import Writer
from vllmsim.scripts.dataset.progress import Progress
from vllmsim.scripts.dataset.reading import Source
from vllmsim.scripts.dataset.server import Server
from vllmsim.tokenization.words import WordTokenizer


@implementer(ITokenizer)
class Grumpy(WordTokenizer):
    """Refuses conversations as the error says."""

    def __init__(self, error: InferenceError) -> None:
        super().__init__(in_thread)
        self.error = error

    async def read(self, prompt: TextPrompt | Conversation, limit: int) -> TokenizedPrompt:
        """Refuse what is no text."""
        if isinstance(prompt, Conversation):
            raise self.error
        return await super().read(prompt, limit)


class BuilderTests(SynchronousTestCase):
    """Records of an input."""

    def setUp(self) -> None:
        """Have room for the files."""
        self.folder = make_folder(self)
        self.clock = Clock()
        self.told = io.StringIO()

    def build(
        self,
        data: str,
        *,
        tokenizer: ITokenizer | None = None,
        server: Server | None = None,
        form: Form | None = None,
        most: int | None = None,
        skip_bad: bool = False,
    ) -> list[dict[str, Any]]:
        """Build the records of an input, and list them."""
        wishes = Wishes(form, "both", most, skip_bad)
        progress = Progress(self.told, self.clock.seconds)
        for path in self.folder.iterdir():
            path.unlink()
        with Writer(self.folder / "a", self.folder / "b", "llmd", index=True) as writer:
            self.builder = Builder(
                wishes, tokenizer or WordTokenizer(in_thread), server, 2, writer, progress, self.clock
            )
            done = Deferred.fromCoroutine(self.builder.build(Source("f", io.BytesIO(data.encode()))))
            if server is not None:
                self.agent.flush()
                for _ in range(5):
                    self.clock.advance(0)
                    self.agent.flush()
            results: list[object] = []
            done.addBoth(results.append)
            (result,) = results
            if isinstance(result, Failure):
                result.raiseException()
            writer.finish()
        listed: list[dict[str, Any]] = json.loads((self.folder / "b").read_bytes())
        return listed

    def serve(self, *answers: tuple[int, bytes]) -> Server:
        """Make a server."""
        self.agent = RequestTraversalAgent(Script([*answers]))
        client = HTTPClient(self.agent, data_to_body_producer=_SynchronousProducer)
        return Server(client, self.clock, "http://h", Headers(), 7, 60.0, 0, "m")

    def test_golden(self) -> None:
        """Prompts and answers have the ids that llm-d-inference-sim has for them, and the prompts its hashes."""
        first, second = self.build('{"prompt": "Hello world!", "completion": "I hear it\'s very cold."}')
        ids = [2062099468, 3265900095, 1194886160, 571247302, 4149321222, 1809349267, 3930381583, 722245873]
        texts = ["I ", "hear ", "it", "'", "s ", "very ", "cold", "."]
        for record in (first, second):
            self.assertEqual({"Tokens": ids, "Strings": texts}, record["gen_tokens"])
            self.assertEqual(("I hear it's very cold.", 8), (record["generated"], record["n_gen_tokens"]))
        self.assertEqual("oMqD9Z06NdLS2RqJcAEBet7PBX4QXIMgFM7WoGkzXDE=", first["prompt_hash"])
        self.assertEqual(["Hello world!", "### user: Hello world!\n"], [first["input_text"], second["input_text"]])
        self.assertEqual(1, self.builder.chats)

    def test_conversations(self) -> None:
        """The prompt of a later answer is the whole conversation before it."""
        value = [{"from": who, "value": f"{who}{n}"} for n in (1, 2) for who in ("human", "gpt")]
        records = self.build(json.dumps([{"id": "x", "conversations": value}]))
        prompts = [record["input_text"] for record in records]
        later = "### user: human1\n### assistant: gpt1\n### user: human2\n"
        self.assertEqual(["human1", "### user: human1\n", "human2", later], prompts)
        self.assertEqual(["gpt1", "gpt1", "gpt2", "gpt2"], [record["generated"] for record in records])

    def test_enough(self) -> None:
        """There are no more records than are wanted."""
        data = '{"prompt": "a", "completion": "b"}\n' * 10
        self.assertEqual(20, len(self.build(data)))
        self.assertEqual(5, len(self.build(data, most=5)))

    def test_bad(self) -> None:
        """What cannot be used ends the work with its line, unless it may be skipped; then it is told and counted."""
        data = '{"prompt": "a", "completion": "b"}\n\n{"x": 1}\n{"prompt": "c", "completion": "d"}\n{"prompt"'
        wrong = "it has none of the members conversations, messages, prompt"
        error = self.assertRaises(BuildError, self.build, data)
        self.assertEqual(f"f, line 3: {wrong}; --skip-bad goes on without it", str(error))
        self.assertEqual(4, len(self.build(data, skip_bad=True)))
        self.assertEqual({"a record that cannot be used": 2}, self.builder.skipped)
        told = self.told.getvalue().splitlines()
        self.assertEqual(f"f, line 3: {wrong}; skipped", told[0])
        self.assertIn("f, line 5: it is not JSON", told[1])

    def test_many_bad(self) -> None:
        """Of many that are bad only the first are told."""
        data = '{"x": 1}\n' * 100 + '{"prompt": "a", "completion": "b"}'
        self.assertEqual(2, len(self.build(data, skip_bad=True)))
        self.assertEqual(21, len(self.told.getvalue().splitlines()))
        self.assertEqual({"a record that cannot be used": 100}, self.builder.skipped)

    def test_too_long(self) -> None:
        """An answer that is longer than what the daemon reads of one is bad."""
        self.patch(output, "LONGEST_ANSWER", 200)
        data = json.dumps({"prompt": "q", "completion": "word " * 99}) + '\n{"prompt": "q", "completion": "a"}'
        error = self.assertRaises(BuildError, self.build, data)
        self.assertIn("f, line 1: its answer's 99 tokens take more than 200 bytes; --skip-bad", str(error))
        self.assertEqual(["a", "a"], [each["generated"] for each in self.build(data, skip_bad=True)])
        self.assertEqual({"a record that cannot be used": 2}, self.builder.skipped)
        self.assertEqual(1, self.builder.chats)

    def test_skipped(self) -> None:
        """What makes no record is counted by its reason."""
        data = '{"prompt": "a", "completion": ""}\n{"prompt": "a"}\n{"prompt": "a", "completion": "b"}'
        self.assertEqual(2, len(self.build(data)))
        self.assertEqual({"an empty answer": 1, "a conversation without an answer": 1}, self.builder.skipped)

    def test_form(self) -> None:
        """Where one form is wanted, others are bad."""
        error = self.assertRaises(BuildError, self.build, '{"prompt": "a", "completion": "b"}', form="sharegpt")
        self.assertIn("f, line 1: it has the form completions, and not sharegpt", str(error))

    def test_template(self) -> None:
        """A conversation that the template refuses is bad; a tokenizer that cannot work ends everything."""
        data = '{"prompt": "a", "completion": "b"}'
        refused = Grumpy(InvalidRequest("no system turns"))
        self.assertEqual(["a"], [each["input_text"] for each in self.build(data, tokenizer=refused, skip_bad=True)])
        self.assertIn("f, line 1: no system turns; skipped", self.told.getvalue())
        error = self.assertRaises(
            BuildError, self.build, data, tokenizer=Grumpy(InferenceError("it is away")), skip_bad=True
        )
        self.assertEqual("it is away", str(error))

    def test_recorded(self) -> None:
        """Of a server its answers are kept, with the ids that it tells, and not those of the input."""
        records = self.build('{"prompt": "q", "completion": "x"}', server=self.serve((200, GOOD), (200, GOOD)))
        self.assertEqual([{"Tokens": [5], "Strings": ["a"]}] * 2, [each["gen_tokens"] for each in records])
        self.assertEqual(["q", '[{"role":"user","content":"q"}]'], [each["input_text"] for each in records])
        self.assertEqual((1, ""), (len({each["prompt_hash"] for each in records}), self.told.getvalue()))

    def test_untold(self) -> None:
        """Where a server tells no ids they are made here, which is said once."""
        chunk = b'{"choices": [{"index": 0, "delta": {"content": "b c"}, "finish_reason": "stop"}]}'
        said = b"data: " + chunk + b"\n\ndata: [DONE]\n\n"
        records = self.build('{"prompt": "q"}', server=self.serve((200, said), (200, said)))
        self.assertEqual(["b ", "c"], records[0]["gen_tokens"]["Strings"])
        self.assertEqual("### user: q\n", records[1]["input_text"])
        expected = "the server tells no token ids; they are made with the tokenizer of this command\n"
        self.assertEqual((expected, True), (self.told.getvalue(), self.builder.warned))

    def test_refused(self) -> None:
        """A prompt that a server refuses is bad, like a record that cannot be read."""
        answers = (400, b'{"error": {"message": "too long"}}'), (200, GOOD)
        records = self.build('{"prompt": "q"}', server=self.serve(*answers), skip_bad=True)
        self.assertEqual(1, len(records))
        expected = "f, line 1: the server answers with status 400: too long; skipped\n"
        self.assertEqual(expected, self.told.getvalue())

    def test_no_tokens(self) -> None:
        """An answer of which the tokenizer makes nothing is no record."""

        class Mute(WordTokenizer):
            async def encode(self, text: str, limit: int) -> Tokens:
                return Tokens((), ())

        self.assertEqual([], self.build('{"prompt": "a", "completion": "b"}', tokenizer=Mute(in_thread)))
        self.assertEqual({"an answer without tokens": 2}, self.builder.skipped)

    def test_error(self) -> None:
        """What cannot be told apart ends the work, whatever may be skipped."""
        error = self.assertRaises(BuildError, self.build, '[{"prompt": "a"}, {', skip_bad=True)
        self.assertIn("the file ends in the middle of its array", str(error))
