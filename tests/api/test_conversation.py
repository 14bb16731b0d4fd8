"""Messages, flattened."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from vllmsim.api.conversation import ChatMessage, flatten, image_text
from vllmsim.inference import Media


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
