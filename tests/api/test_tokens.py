"""The token routes' bodies."""

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, recorded
from vllmsim.api.tokens import TokenDialect
from vllmsim.errors import MalformedRequest, UnknownModel
from vllmsim.inference import Conversation, Message, TextPrompt
from vllmsim.models import ModelCatalogue


class TokenDialectTests(SynchronousTestCase):
    """Reading and writing."""

    def setUp(self) -> None:
        """Have the recorded server's dialect."""
        self.dialect = TokenDialect(ModelCatalogue("m1", ("m1",)), 256)

    def test_recording(self) -> None:
        """The answer has vLLM's bytes."""
        written = self.dialect.tokenized([297, 332, 343], ["He", "llo", "Ġworld"])
        self.assertEqual(recorded("tok"), written)
        self.assertIsNone(json.loads(self.dialect.tokenized([1], None))["token_strs"])

    def test_parse(self) -> None:
        """A prompt or messages are read; a prompt comes first if there are both."""
        parse = self.dialect.parse_tokenize
        self.assertEqual((TextPrompt("a"), True), parse(b'{"prompt":"a","return_token_strs":true,"messages":1}', HEAD))
        conversation = Conversation((Message("user", "hi"),))
        self.assertEqual((conversation, False), parse(b'{"messages":[{"role":"user","content":"hi"}]}', HEAD))
        self.assertRaises(UnknownModel, parse, b'{"prompt":"a","model":"x"}', HEAD)
        self.assertRaises(UnknownModel, parse, b'{"messages":[],"model":"x"}', HEAD)
        error = self.assertRaises(MalformedRequest, parse, b"{}", HEAD)
        self.assertIn("2 validation errors", error.message)

    def test_detokenize(self) -> None:
        """Ids are read and text is written."""
        self.assertEqual([1, 2], self.dialect.parse_detokenize(b'{"tokens":[1,2]}', HEAD))
        self.assertRaises(UnknownModel, self.dialect.parse_detokenize, b'{"tokens":[],"model":"x"}', HEAD)
        self.assertEqual('{"prompt":"ü"}'.encode(), self.dialect.detokenized("ü"))
