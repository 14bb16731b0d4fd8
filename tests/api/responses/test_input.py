"""Input items of Responses requests."""

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.responses.input import read_input
from vllmsim.errors import InvalidRequest, InvalidResponseUse
from vllmsim.inference import Media, Message

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
STORED: dict[str, Mapping[str, Any]] = {
    "msg_1": {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "stored"}]},
    "fc_1": CALL,
    "rs_1": {"type": "reasoning", "summary": []},
}


def find(item_id: str) -> Mapping[str, Any]:
    """Find a stored item."""
    if item_id not in STORED:
        raise InvalidResponseUse("no such item")
    return STORED[item_id]


class InputTests(SynchronousTestCase):
    """What items become."""

    def read(self, *items: Any) -> tuple[Message, ...]:
        """Read items."""
        return read_input(list(items), find)

    def content(self, *parts: Any) -> Message:
        """Read the parts of a message."""
        [message] = self.read({"role": "user", "content": list(parts)})
        return message

    def test_text(self) -> None:
        """A text is what a user says, an empty one too; no items are no messages."""
        self.assertEqual((Message("user", "hi"),), read_input("hi", find))
        self.assertEqual((Message("user", ""),), read_input("", find))
        self.assertEqual((), self.read())

    def test_messages(self) -> None:
        """A message has any role and its content as text, as parts, or not at all; its type need not be said."""
        self.assertEqual(
            (Message("developer", "a"), Message("user", "b\nc\ne"), Message("assistant", "d"), Message("user", "")),
            self.read(
                {"type": "message", "role": "developer", "content": "a"},
                {"role": "user", "content": [{"type": "input_text", "text": "b"}, {"text": "c"}, "e"]},
                {"type": "message", "id": "msg_9", "status": "completed", "role": "assistant",
                 "content": [{"type": "output_text", "text": "d", "annotations": [], "logprobs": None}]},
                {"role": "user", "content": None},
            ),
        )  # fmt: skip

    def test_refusals(self) -> None:
        """A refusal is text."""
        self.assertEqual(Message("user", "no"), self.content({"type": "refusal", "refusal": "no"}))

    def test_images(self) -> None:
        """An image's address is a line of text, in either form; of its data the line has the kind alone."""
        data = "data:image/png;base64,AAAA"
        for source, line in (("http://x/y.png", "image: http://x/y.png"), (data, "image: data:image/png;base64")):
            for value in (source, {"url": source}):
                message = self.content(
                    {"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": value}
                )
                self.assertEqual(Message("user", f"see\n{line}", media=(Media("image", source),)), message)
        by_id = self.content({"type": "input_image", "image_url": None, "file_id": "file-1", "detail": "low"})
        self.assertEqual("image: file-1", by_id.text)

    def test_sounds(self) -> None:
        """A sound adds nothing to the text, in either form."""
        sound = {"data": "AAAA", "format": "wav"}
        for part in ({"type": "input_audio", "input_audio": sound}, {"type": "input_audio", **sound}):
            self.assertEqual(Message("user", "", media=(Media("audio", "AAAA"),)), self.content(part))

    def test_files(self) -> None:
        """A file is a line with its name, or what else is known of it."""
        for part, line in (
            ({"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}, "file: a.pdf"),
            ({"file_id": "file-1"}, "file: file-1"),
            ({"file_url": "http://x/a"}, "file: http://x/a"),
            ({"file_data": "data:application/pdf;base64,AA"}, "file: data:application/pdf;base64"),
        ):
            self.assertEqual(line, self.content({"type": "input_file", **part}).text)

    def test_calls(self) -> None:
        """Calls belong to the assistant's turn before them, or make one; their results are turns of their own."""
        self.assertEqual(
            (
                Message("user", "q"),
                Message("assistant", 'well[f({"a":1})][g()]'),
                Message("tool", "sunny", "c1"),
                Message("tool", "warm\nimage: u", "c2", (Media("image", "u"),)),
                Message("assistant", '[f({"a":1})]'),
            ),
            self.read(
                {"role": "user", "content": "q"},
                {"type": "reasoning", "id": "rs_0", "summary": [], "encrypted_content": "x"},
                {"role": "assistant", "content": "well"},
                CALL,
                {"type": "function_call", "call_id": "c2", "name": "g"},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
                {"type": "function_call_output", "call_id": "c2",
                 "output": [{"type": "input_text", "text": "warm"}, {"type": "input_image", "image_url": "u"}]},
                CALL,
            ),
        )  # fmt: skip

    def test_turns(self) -> None:
        """Templates see parts, calls and what the model thought before it spoke."""
        thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
        image = {"type": "input_image", "image_url": "u"}
        asked = {"role": "user", "content": [{"type": "input_text", "text": "a"}, image]}
        output = {"type": "function_call_output", "call_id": "c1", "output": "x"}
        user, assistant, tool = (message.turn for message in self.read(asked, thought, CALL, output))
        parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]
        self.assertEqual({"role": "user", "content": parts}, user)
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        self.assertEqual({"role": "assistant", "content": "", "tool_calls": [call], "reasoning": "hm"}, assistant)
        self.assertEqual({"role": "tool", "content": "x", "tool_call_id": "c1"}, tool)

    def test_references(self) -> None:
        """A reference stands for the stored item, and its type need not be said."""
        self.assertEqual(
            (Message("assistant", 'stored[f({"a":1})]'),),
            self.read(
                {"type": "item_reference", "id": "rs_1"}, {"id": "msg_1"}, {"type": "item_reference", "id": "fc_1"}
            ),
        )
        self.assertRaises(InvalidResponseUse, self.read, {"type": "item_reference", "id": "msg_0"})

    def test_repeated_references(self) -> None:
        """One item cannot be referred to again and again: a small request must not become a huge prompt."""
        self.assertRaises(InvalidRequest, self.read, {"id": "msg_1"}, {"id": "msg_1"})

    def test_wrong_items(self) -> None:
        """Items that are not what they should be are named in the error."""
        for item, text in (
            ("x", "input items must be objects"),
            ({}, 'unsupported input item type ""'),
            ({"type": "web_search_call"}, 'unsupported input item type "web_search_call"'),
            ({"type": ["message"]}, "unsupported input item type \"['message']\""),
            ({"type": "message"}, "a message needs a role, which is text"),
            ({"role": 5}, "a message needs a role, which is text"),
            ({"role": "user", "content": 5}, "content must be text or a list of parts"),
            ({"role": "user", "content": [5]}, "parts of content must be objects"),
            ({"role": "user", "content": [{"type": "x"}]}, 'unsupported input content type "x"'),
            ({"role": "user", "content": [{"type": {}}]}, 'unsupported input content type "{}"'),
            ({"role": "user", "content": [{"type": "input_text"}]}, "a part of type input_text needs a text"),
            ({"role": "user", "content": [{"type": "refusal"}]}, "a refusal needs a refusal"),
            ({"role": "user", "content": [{"type": "input_image"}]}, "an input_image needs image_url or file_id"),
            ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "an input_audio needs"),
            ({"role": "user", "content": [{"type": "input_file"}]}, "an input_file needs filename or"),
            ({"type": "function_call", "arguments": "{}"}, "a function_call needs a name"),
            ({**CALL, "arguments": {}}, "a function_call needs a arguments"),
            ({"type": "function_call_output", "output": "x"}, "a function_call_output needs a call_id"),
            ({"type": "function_call_output", "call_id": "c"}, "a function_call_output needs an output"),
            ({"type": "item_reference"}, "an item_reference needs a id"),
        ):
            error = self.assertRaises(InvalidRequest, self.read, item)
            self.assertIn(text, error.message)
            self.assertEqual("input", error.param)

    def test_many_calls(self) -> None:
        """Tens of thousands of calls in one turn are read in no time."""
        [message] = self.read(*[CALL] * 50_000)
        self.assertEqual(50_000 * len('[f({"a":1})]'), len(message.text))
