"""Messages made of blocks become turns of text."""

from typing import Any

from pydantic import TypeAdapter
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.messages.blocks import BlockMessage, Content, conversation_of_blocks
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Media, Message

SOURCE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
DATA = "data:image/png;base64,AAAA"


def turns(*messages: Any, system: Any = None) -> tuple[Message, ...]:
    """Read messages, and make their turns."""
    read = [BlockMessage.model_validate(message) for message in messages]
    prompt = TypeAdapter[Any](Content).validate_python(system) if system is not None else None
    return conversation_of_blocks(prompt, read).messages


def user(*blocks: Any) -> dict[str, Any]:
    """Make a user's message."""
    return {"role": "user", "content": list(blocks)}


class TurnTests(SynchronousTestCase):
    """What blocks say."""

    def test_texts(self) -> None:
        """Content is text, or blocks of text that are lines of it."""
        self.assertEqual((Message("user", "a"),), turns({"role": "user", "content": "a"}))
        blocks = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
        self.assertEqual((Message("user", "a\nb"),), turns(user(*blocks)))

    def test_system(self) -> None:
        """A system prompt is the first turn; its blocks are one text, without the one that tells a client's build."""
        blocks = [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=1.2"},
            {"type": "text", "text": "Be "},
            {"type": "text", "text": "brief."},
        ]
        for system in ("Be brief.", blocks):
            self.assertEqual(
                (Message("system", "Be brief."), Message("user", "a")),
                turns({"role": "user", "content": "a"}, system=system),
            )
        self.assertEqual((Message("user", "a"),), turns({"role": "user", "content": "a"}, system=""))

    def test_system_among_messages(self) -> None:
        """A system message stays where it is; an empty one is none."""
        messages = [
            {"role": "user", "content": "a"},
            {"role": "system", "content": [{"type": "text", "text": "b"}]},
            {"role": "system", "content": ""},
        ]
        self.assertEqual((Message("user", "a"), Message("system", "b")), turns(*messages))

    def test_images(self) -> None:
        """An image is base64 or an address; data is known by its media type."""
        blocks = [
            {"type": "text", "text": "see"},
            {"type": "image", "source": SOURCE},
            {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}},
            {"type": "image", "source": {"data": "BBBB"}},
        ]
        media = (Media("image", DATA), Media("image", "http://x/y.png"), Media("image", "data:image/jpeg;base64,BBBB"))
        text = "see\nimage: data:image/png;base64\nimage: http://x/y.png\nimage: data:image/jpeg;base64"
        self.assertEqual((Message("user", text, media=media),), turns(user(*blocks)))

    def test_images_without_a_source(self) -> None:
        """An image that is nowhere is refused, in the result of a call too."""
        for block in ({"type": "image"}, {"type": "image", "source": {}}, {"type": "image", "source": None}):
            for message in (user(block), user({"type": "tool_result", "tool_use_id": "c", "content": [block]})):
                error = self.assertRaises(InvalidRequest, turns, message)
                self.assertEqual("image content block is missing required 'source' field", error.message)
        for source in (
            {"type": "url"},
            {"type": "base64"},
            {"type": "file", "file_id": "f"},
            {"type": "url", "url": 7},
        ):
            error = self.assertRaises(InvalidRequest, turns, user({"type": "image", "source": source}))
            self.assertIn("'data' or a 'url'", error.message)

    def test_calls(self) -> None:
        """Calls follow the text of the model that made them; their input is compact, and may be missing."""
        blocks = [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"city": "SF", "n": 10**30}},
            {"type": "tool_use", "id": "c2", "name": "g"},
        ]
        [turn] = turns({"role": "assistant", "content": blocks})
        self.assertEqual(
            Message("assistant", 'Let me see.[f({"city":"SF","n":1000000000000000000000000000000})][g({})]'), turn
        )

    def test_deep_calls(self) -> None:
        """Input that is nested too deeply to be written is refused, and not a fault of ours."""
        deep: dict[str, Any] = {}
        for _ in range(300):
            deep = {"a": deep}
        block = {"type": "tool_use", "id": "c", "name": "f", "input": deep}
        [turn] = turns({"role": "assistant", "content": [block]})
        self.assertTrue(turn.text.startswith('[f({"a":{"a":'))
        for _ in range(100_000):
            deep = {"a": deep}
        self.assertRaises(InvalidRequest, turns, {"role": "assistant", "content": [block | {"input": deep}]})

    def test_results(self) -> None:
        """Each result is a turn of the tool, behind what the user says beside it."""
        results = [
            {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "c2", "content": [
                {"type": "text", "text": "a"}, {"type": "image", "source": SOURCE}, {"type": "document"},
                {"type": "text", "text": 7}, {"type": "text", "text": "b"}]},
            {"type": "tool_result", "tool_use_id": "c3", "is_error": True},
        ]  # fmt: skip
        expected = (
            Message("user", "go on"),
            Message("tool", "sunny", "c1"),
            Message("tool", "a\nimage: data:image/png;base64\nb", "c2", (Media("image", DATA),)),
            Message("tool", "", "c3"),
        )
        self.assertEqual(expected, turns(user(*results, {"type": "text", "text": "go on"})))
        self.assertEqual(expected[1:], turns(user(*results)))

    def test_turns(self) -> None:
        """Templates see parts, calls and what the model thought."""
        use = {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}
        said = [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "b"}, use]
        [message] = turns({"role": "assistant", "content": said})
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        parts = [{"type": "text", "text": "b"}]
        expected = {"role": "assistant", "content": parts, "tool_calls": [call], "reasoning": "hm"}
        self.assertEqual(expected, message.turn)

    def test_others(self) -> None:
        """Blocks that say nothing are accepted, whatever they have; a user's message of nothing else is none."""
        blocks = [
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": 7},
            {"type": "search_result", "source": "http://x", "title": "t", "content": [{"type": "text", "text": "x"}]},
            {"type": "web_search_tool_result", "tool_use_id": "w", "content": {"type": "error", "error_code": "x"}},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "thinking", "thinking": "x", "signature": "y"},
            {"type": "from_the_future", "text": "x", "input": 7},
            {"type": "text", "text": ""},
        ]
        self.assertEqual((Message("assistant", ""),), turns(user(*blocks), {"role": "assistant", "content": blocks}))

    def test_nothing(self) -> None:
        """A conversation needs a turn."""
        for messages in ([], [user()], [user({"type": "document"})]):
            error = self.assertRaises(InvalidRequest, turns, *messages)
            self.assertIn("empty conversation", error.message)
