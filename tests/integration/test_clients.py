"""Large client libraries against the daemon, where they are installed: ``make clients``."""

import asyncio
import gc
import importlib.util
import os
from typing import Any

import pytest

from tests.integration.daemon import DaemonTestCase

HI: Any = [{"role": "user", "content": "one two three"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
            "required": ["city"],
        },
    },
}
# It would fetch a list of prices when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def needs(package: str) -> Any:
    """Skip where a package is missing."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


class ForeignTestCase(DaemonTestCase):
    """Tests with clients who leave connections behind."""

    def tearDown(self) -> None:
        """Have those found where they are no error."""
        gc.collect()


@needs("litellm")
@pytest.mark.filterwarnings("ignore")
class LiteLLMTests(ForeignTestCase):
    """LiteLLM, which knows vLLM servers as ``hosted_vllm``."""

    words = ("--model", "m", "--mode", "echo", "--inter-token-latency", "1ms")

    def completion(self, **more: Any) -> Any:
        """Ask for a completion."""
        import litellm  # noqa: PLC0415 - it may be missing

        return litellm.completion(
            model="hosted_vllm/m", api_base=self.daemon.url("/v1"), api_key="x", **{"messages": HI, **more}
        )

    def test_chat(self) -> None:
        """A whole answer and a stream say the same."""
        self.assertEqual("one two three", self.completion().choices[0].message.content)
        chunks = list(self.completion(stream=True))
        self.assertEqual("one two three", "".join(chunk.choices[0].delta.content or "" for chunk in chunks))

    def test_tools(self) -> None:
        """A call of a tool arrives, streamed too."""
        answer = self.completion(tools=[WEATHER], tool_choice="required")
        self.assertEqual("weather", answer.choices[0].message.tool_calls[0].function.name)
        chunks = list(self.completion(tools=[WEATHER], tool_choice="required", stream=True))
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        self.assertRegex("".join(call.function.arguments or "" for call in calls), r'^\{"city": "(Oslo|Rome)"\}$')

    def test_embedding(self) -> None:
        """An embedding arrives."""
        import litellm  # noqa: PLC0415 - it may be missing

        answer = litellm.embedding(
            model="hosted_vllm/m", input=["a b"], api_base=self.daemon.url("/v1"), api_key="x", encoding_format="float"
        )
        self.assertEqual(384, len(answer.data[0]["embedding"]))


@needs("langchain_openai")
@pytest.mark.filterwarnings("ignore")
class LangChainTests(ForeignTestCase):
    """LangChain's OpenAI classes."""

    words = ("--model", "m", "--mode", "echo", "--inter-token-latency", "1ms")

    def model(self, **more: Any) -> Any:
        """Make a chat model."""
        from langchain_openai import ChatOpenAI  # noqa: PLC0415 - it may be missing

        return ChatOpenAI(model="m", base_url=self.daemon.url("/v1"), api_key="x", max_retries=0, **more)

    def test_chat(self) -> None:
        """A whole answer, a stream and an asynchronous one say the same."""
        model = self.model()
        self.assertEqual("one two three", model.invoke("one two three").content)
        self.assertEqual("one two three", "".join(chunk.content for chunk in model.stream("one two three")))
        self.assertEqual("one two three", asyncio.run(self.ask(model)))

    async def ask(self, model: Any) -> Any:
        """Ask asynchronously, and close what only the loop that was used can close."""
        answer = await model.ainvoke("one two three")
        await model.root_async_client.close()
        return answer.content

    def test_tools(self) -> None:
        """A bound tool is called."""
        message = self.model().bind_tools([WEATHER], tool_choice="required").invoke("weather?")
        self.assertIn(message.tool_calls[0]["args"]["city"], ("Oslo", "Rome"))

    def test_structure(self) -> None:
        """A structured output has the structure."""
        schema = {"title": "place", **WEATHER["function"]["parameters"], "additionalProperties": False}
        place = self.model().with_structured_output(schema, method="json_schema").invoke("where?")
        self.assertIn(place["city"], ("Oslo", "Rome"))

    def test_responses(self) -> None:
        """The Responses API works through it too."""
        self.assertIn("one two three", self.model(use_responses_api=True).invoke("one two three").text)

    def test_embeddings(self) -> None:
        """Embeddings of texts arrive, each of its own."""
        from langchain_openai import OpenAIEmbeddings  # noqa: PLC0415 - it may be missing

        embeddings = OpenAIEmbeddings(
            model="m", base_url=self.daemon.url("/v1"), api_key="x", check_embedding_ctx_length=False
        )
        self.assertEqual([384, 384], [len(vector) for vector in embeddings.embed_documents(["a", "b"])])
