"""Messages, flattened."""

from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from vllmsim.api.chat import ChatBody
from vllmsim.api.conversation import ChatMessage, flatten, image_text, read_template
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Media, Template


class FlattenTests(SynchronousTestCase):
    """Blocks of content."""

    def test_blocks(self) -> None:
        """Texts and addresses of images become lines; all media are kept; unknown blocks say nothing."""
        text, media = flatten(
            [
                "a",
                {"type": "text", "text": "b"},
                {"type": "refusal", "refusal": "no"},
                {"type": "image_url", "image_url": {"url": "u"}},
                {"type": "image_url", "image_url": "v"},
                {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
                {"type": "audio_url", "audio_url": {"url": "s"}},
                {"type": "video_url", "video_url": {"url": "f"}},
                {"type": "image_url", "image_url": {"url": ""}},
                {"type": "image_url", "image_url": 7},
                {"type": "x", "x": {}},
                {},
            ]
        )
        self.assertEqual("a\nb\nno\nimage: u\nimage: v", text)
        kinds = ("image", "image", "audio", "audio", "video")
        self.assertEqual(tuple(map(Media, kinds, "uvdsf")), media)  # type: ignore[arg-type]

    def test_data(self) -> None:
        """An image that is sent along is named by its kind, so that megabytes of it are no text."""
        self.assertEqual("image: data:image/png;base64", image_text("data:image/png;base64," + "A" * 1_000_000))

    def test_calls(self) -> None:
        """Calls follow the content, whatever types strangers gave them."""
        calls: list[dict[str, Any]] = [
            {"function": {"name": "f", "arguments": "{}"}},
            {"function": {"name": 7}},
            {},
            {"function": 1},
        ]
        message = ChatMessage.model_validate({"role": "assistant", "content": "hm ", "tool_calls": calls}).flat()
        self.assertEqual("hm [f({})][7()]", message.text)


WORDS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
BLOCKS = st.one_of(
    WORDS.map(lambda text: {"type": "text", "text": text}),
    WORDS.map(lambda text: {"type": "image_url", "image_url": {"url": "https://x/" + text}}),
    st.just({"type": "unknown", "unknown": 1}),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "user", "assistant", "tool", "developer", "critic"]),
        st.one_of(WORDS, st.lists(BLOCKS, max_size=4), st.none()),
    ),
    min_size=1,
    max_size=5,
)


class TurnTests(SynchronousTestCase):
    """Messages as chat templates read them."""

    def test_parts(self) -> None:
        """Text stays text, and blocks are those that were sent."""
        image = {"type": "image_url", "image_url": {"url": "u"}}
        blocks = ["a", {"type": "input_text", "text": "b"}, {"type": "refusal", "refusal": "no"}, image, {"type": "x"}]
        message = ChatMessage.model_validate({"role": "user", "content": blocks})
        self.assertEqual({"role": "user", "content": blocks}, message.flat().turn)
        self.assertEqual({"role": "user", "content": "a"}, ChatMessage(role="user", content="a").flat().turn)
        self.assertEqual({"role": "assistant", "content": ""}, ChatMessage(role="assistant").flat().turn)

    def test_members(self) -> None:
        """Calls, names and reasoning are there, under either name; what has the wrong type is not."""
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        given = {"role": "assistant", "content": None, "tool_calls": [call], "name": "bob", "reasoning_content": "hm"}
        expected = {"role": "assistant", "content": "", "tool_calls": [call], "name": "bob", "reasoning": "hm"}
        self.assertEqual(expected, ChatMessage.model_validate(given).flat().turn)
        odd = {"role": "tool", "content": "x", "tool_call_id": "c", "name": 7, "reasoning": [], "tool_calls": []}
        turn = ChatMessage.model_validate(odd).flat().turn
        self.assertEqual({"role": "tool", "content": "x", "tool_call_id": "c"}, turn)

    def test_template(self) -> None:
        """A request's words for the template are collected; one of its own is refused unless that is allowed."""
        asked = ChatBody.model_validate(
            {
                "messages": [],
                "chat_template_kwargs": {"enable_thinking": False},
                "documents": [{"text": "d"}],
                "add_generation_prompt": False,
                "continue_final_message": True,
                "add_special_tokens": True,
            }
        )
        template = read_template(asked, trusted=False, effort="low", tools=[{"type": "function"}])
        expected = Template(
            begins=False,
            goes_on=True,
            tools=({"type": "function"},),
            documents=({"text": "d"},),
            arguments={"reasoning_effort": "low", "enable_thinking": False},
            special=True,
        )
        self.assertEqual(expected, template)
        for fields in ({"chat_template": "x"}, {"chat_template_kwargs": {"chat_template": "x"}}):
            own = ChatBody.model_validate({"messages": [], **fields})
            self.assertRaisesRegex(
                InvalidRequest, "untrusted chat template", partial(read_template, own, trusted=False)
            )
            read_template(own, trusted=True)
        both = ChatBody.model_validate({"messages": [], "continue_final_message": True})
        self.assertRaisesRegex(InvalidRequest, "Cannot set both", partial(read_template, both, trusted=True))


class EchoTests(RankTestCase):
    """Any conversation comes back."""

    @given(messages=MESSAGES)
    def test_round_trip(self, messages: list[dict[str, Any]]) -> None:
        """An echo says the last message's text to the byte, whole and streamed, whatever the messages are."""
        if not hasattr(self, "rank"):
            self.make_rank("--mode", "echo", "--max-model-len", "100k")
        last = messages[-1]["content"] or ""
        expected = last if isinstance(last, str) else flatten(last)[0]
        whole = self.post("/v1/chat/completions", {"messages": messages})
        self.assertEqual(expected, whole.json()["choices"][0]["message"]["content"])
        events = self.post("/v1/chat/completions", {"messages": messages, "stream": True}).events()[:-1]
        self.assertEqual(expected, "".join(event["choices"][0]["delta"].get("content", "") for event in events))
