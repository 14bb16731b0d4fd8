"""A server with a real tokenizer counts, returns and reads the tokens of that tokenizer on every route."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tests.harness import RankTestCase
from tests.tokenization.small import FAMILIES, SCRIPTS, bpe, texts, unigram, wordpiece, write_folder
from tests.tokenization.training import tokenizer_json
from vllmsim.assembly.tokenizing import BUILTIN

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ tools | length if tools else '' }}"
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 40}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": CITY}}
    for name in ("weather", "weather_tomorrow", "né")
]
UNREADABLE = "\ufffd"


class RealTokensTestCase(RankTestCase):
    """Servers with tokenizers trained for the tests."""

    def make_model(self, tokenizer: Tokenizer, *words: str) -> None:
        """Serve a model whose folder has a tokenizer."""
        folder = self.mktemp()
        Path(folder).mkdir(parents=True)
        write_folder(folder, tokenizer, chat_template=TEMPLATE)
        self.make_rank("--model", folder, "--served-model-name", "m", "--max-model-len", "20k", *words)


class CountTests(RealTokensTestCase):
    """Ids and counts."""

    def test_prompts(self) -> None:
        """Prompts have the package's ids, with its special tokens for completions and without for chats."""
        for family in (bpe, unigram):
            tokenizer = family()
            self.make_model(tokenizer)
            for text in texts(60):
                expected = tokenizer.encode(text).ids
                answer = self.complete(text or " ", return_token_ids=True, max_tokens=1).json()
                if text:
                    self.assertEqual(expected, answer["choices"][0]["prompt_token_ids"])
                    self.assertEqual(len(expected), answer["usage"]["prompt_tokens"])
                bare = tokenizer.encode(text, add_special_tokens=False).ids
                tokenized = self.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json()
                self.assertEqual((len(bare), bare), (tokenized["count"], tokenized["tokens"]))
                ids = tokenizer.encode(f"user: {text}\n", add_special_tokens=False).ids
                chat = self.chat(text, return_token_ids=True, max_tokens=1).json()
                self.assertEqual((ids, len(ids)), (chat["prompt_token_ids"], chat["usage"]["prompt_tokens"]))
                decoded = self.post("/detokenize", {"tokens": ids}).json()["prompt"]
                self.assertEqual(tokenizer.decode(ids, skip_special_tokens=False), decoded)

    def test_nothing(self) -> None:
        """A prompt of which nothing is left is refused: a cut may leave nothing, and a tokenizer make nothing."""
        self.make_model(wordpiece())
        for more in ({}, {"echo": True, "logprobs": 1}, {"prompt": "a", "truncate_prompt_tokens": 0}):
            exchange = self.post("/v1/completions", {"prompt": "\ufffd", **more})
            self.assertEqual(
                (400, "The decoder prompt cannot be empty"), (exchange.status, exchange.json()["error"]["message"])
            )

    def test_tools(self) -> None:
        """A conversation with tools has the same tokens when it is answered, rendered and tokenized."""
        self.make_rank("--tokenizer", "builtin", "--max-model-len", "20k")
        tool = {"function": {"name": "f", "parameters": {"type": "object"}, "more": 1}, "cache": True}
        asked = {"messages": [{"role": "user", "content": "x"}], "tools": [tool]}
        tokens = self.post("/tokenize", asked).json()["tokens"]
        answered = self.post("/v1/chat/completions", {**asked, "max_tokens": 1, "return_token_ids": True}).json()
        self.assertEqual(answered["prompt_token_ids"], tokens)
        self.assertEqual(self.post("/v1/chat/completions/render", asked).json()["token_ids"], tokens)

    def test_pieces(self) -> None:
        """Tokens are spelled as the vocabulary does."""
        self.make_model(bpe())
        shown = self.post("/tokenize", {"prompt": "the world", "return_token_strs": True}).json()
        self.assertEqual(bpe().encode("the world").tokens, shown["token_strs"])

    def test_answers(self) -> None:
        """An answer's ids say its text, and a client that tokenizes its text counts what usage says."""
        for family in FAMILIES[:3]:
            tokenizer = family()
            self.make_model(tokenizer)
            for limit in (1, 7, 60, 300):
                answer = self.chat(max_tokens=limit, min_tokens=limit, return_token_ids=True).json()
                [choice] = answer["choices"]
                said = tokenizer.decode(choice["token_ids"], skip_special_tokens=False)
                self.assertEqual(said, choice["message"]["content"])
                again = tokenizer.encode(choice["message"]["content"], add_special_tokens=False)
                # The last word may be cut within.
                self.assertLessEqual(abs(len(again) - limit), 2)
                self.assertEqual(limit, answer["usage"]["completion_tokens"])

    def test_ends(self) -> None:
        """An answer that ends by itself has the model's ending token."""
        self.make_model(bpe())
        [choice] = self.chat(max_tokens=400, return_token_ids=True, seed=3).json()["choices"]
        self.assertEqual(("stop", 1), (choice["finish_reason"], choice["token_ids"][-1]))

    def test_builtin(self) -> None:
        """The tokenizer that comes with the program needs no model; whole sentences are counted as usage says."""
        self.make_rank("--tokenizer", "builtin", "--max-model-len", "20k")
        tokenizer = Tokenizer.from_str(tokenizer_json())
        for seed in range(20):
            answer = self.chat(max_tokens=500, seed=seed, return_token_ids=True).json()
            text = answer["choices"][0]["message"]["content"]
            counted = len(tokenizer.encode(text)) + (answer["choices"][0]["finish_reason"] == "stop")
            self.assertLessEqual(abs(answer["usage"]["completion_tokens"] - counted), 1)
        self.assertTrue(BUILTIN.endswith("builtin"))

    def test_words(self) -> None:
        """The dummy can be asked for where there is a real one."""
        self.make_model(bpe(), "--force-dummy-tokenizer")
        self.assertEqual("WordTokenizer", self.get("/tokenizer_info").json()["tokenizer_class"])


class VocabularyTests(RealTokensTestCase):
    """Ids that are no tokens."""

    def test_recordings(self) -> None:
        """They are refused in vLLM's words, with the size of the vocabulary; detokenizing them gives nothing."""
        tokenizer = Tokenizer.from_str(bpe().to_str())
        tokenizer.add_tokens([f"<{number}>" for number in range(tokenizer.get_vocab_size(), 1000)])
        self.make_model(tokenizer)
        biased = self.complete("a", logit_bias={"999999": 1})
        self.assertEqual(
            b'{"error":{"message":"token_id(s) [999999] in logit_bias contain out-of-vocab token ids. Vocabulary size: '
            b'1000 (parameter=logit_bias, value=[999999])","type":"BadRequestError","param":"logit_bias","code":400}}',
            biased.body,
        )
        given = self.complete([999999])
        self.assertEqual(
            b'{"error":{"message":"Token id 999999 is out of vocabulary","type":"BadRequestError","param":null,'
            b'"code":400}}',
            given.body,
        )
        self.assertEqual({"prompt": ""}, self.post("/detokenize", {"tokens": [999999]}).json())
        self.assertEqual(400, self.complete("a", allowed_token_ids=[1000]).status)
        self.assertEqual(200, self.complete("a", allowed_token_ids=[999]).status)


class StreamTests(RealTokensTestCase):
    """Characters of several tokens."""

    def test_whole_characters(self) -> None:
        """An echo in any script comes token by token, and no piece has half a character."""
        text = " ".join(SCRIPTS.values())
        for family in FAMILIES[:3]:
            tokenizer = family()
            self.make_model(tokenizer, "--mode", "echo")
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            said = tokenizer.decode(ids, skip_special_tokens=False)
            events = self.chat(text, stream=True, logprobs=True).events()[1:-1]
            pieces = [event["choices"][0]["delta"]["content"] for event in events]
            self.assertEqual(said, "".join(pieces))
            if "\u2581" not in tokenizer.to_str():
                self.assertTrue(all(UNREADABLE not in piece for piece in pieces))

    def test_stop(self) -> None:
        """A stop text is found where its characters are cut over tokens."""
        self.make_model(bpe(), "--mode", "echo")
        [choice] = self.chat("one 東京 two", stop=["京 t"]).json()["choices"]
        self.assertEqual(("one 東", "京 t"), (choice["message"]["content"], choice["stop_reason"]))


class SharedWorkTests(RealTokensTestCase):
    """Render, generate, derender."""

    def serve(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
        """Answer a chat in three steps, in one piece and as a stream, and at once."""
        rendered = self.post("/v1/chat/completions/render", request).json()
        generated = self.post("/inference/v1/generate", {**rendered, "sampling_params": {
            **rendered["sampling_params"], "seed": 5}}).json()  # fmt: skip
        whole = self.post(
            "/v1/chat/completions/derender", {"generate_response": generated, "chat_request": request}
        ).json()
        streamed = self.post("/inference/v1/generate", {**rendered, "stream": True, "sampling_params": {
            **rendered["sampling_params"], "seed": 5}}).events()[:-1]  # fmt: skip
        chunks, state = [], None
        for event in streamed:
            body = {"stream": True, "generate_chunk": event, "stream_state": state, "chat_request": request}
            answer = self.post("/v1/chat/completions/derender", body).json()
            chunks.append(answer["chunk"])
            state = answer["stream_state"]
        return whole, chunks, self.post("/v1/chat/completions", {**request, "seed": 5}).json()

    def test_calls(self) -> None:
        """Calls and reasoning are found though their tags and names are several tokens."""
        self.make_model(bpe(), "--reasoning-parser", "qwen3", "--tool-call-extra-call-probability", "90")
        self.assertGreater(len(bpe().encode("<tool_call>").ids), 2)
        request = {
            "messages": [{"role": "user", "content": "x"}],
            "tools": TOOLS,
            "tool_choice": "required",
            "max_tokens": 4000,
        }
        whole, chunks, direct = self.serve(request)
        expected, got = direct["choices"][0]["message"], whole["choices"][0]["message"]
        functions = [call["function"] for call in expected["tool_calls"]]
        self.assertGreater(len(functions), 1)
        self.assertEqual(functions, [call["function"] for call in got["tool_calls"]])
        self.assertEqual(expected["reasoning"], got["reasoning"])
        joined: dict[int, dict[str, str]] = {}
        for chunk in chunks:
            for each in chunk["choices"]:
                for call in each["delta"].get("tool_calls", ()):
                    function = joined.setdefault(call["index"], {"name": "", "arguments": ""})
                    for name, value in call["function"].items():
                        function[name] += value
        self.assertEqual(functions, list(joined.values()))

    def test_characters(self) -> None:
        """A character whose tokens come in several chunks is whole."""
        self.make_model(bpe(), "--mode", "echo")
        text = "".join(SCRIPTS.values())
        for more in ({}, {"tools": TOOLS, "tool_choice": "auto"}):
            _, chunks, direct = self.serve(
                {"messages": [{"role": "user", "content": text}], "max_tokens": 4000, **more}
            )
            if more:
                continue
            said = "".join(each["delta"].get("content", "") for chunk in chunks for each in chunk["choices"])
            self.assertEqual(direct["choices"][0]["message"]["content"], text)
            self.assertEqual(len(said) > 100, UNREADABLE not in said)

    def test_completions(self) -> None:
        """A completion that is derendered chunk by chunk says the same."""
        self.make_model(bpe(), "--mode", "echo")
        text = "".join(SCRIPTS.values())
        ids = bpe().encode(text, add_special_tokens=False).ids
        said, state = "", None
        for place, token in enumerate(ids):
            end = "stop" if place == len(ids) - 1 else None
            choice = {"index": 0, "token_ids": [token], "finish_reason": end}
            chunk = {"request_id": "r", "choices": [choice]}
            body = {"stream": True, "generate_chunk": chunk, "stream_state": state}
            answer = self.post("/v1/completions/derender", body).json()
            said += answer["chunk"]["choices"][0]["text"]
            state = answer["stream_state"]
        self.assertEqual(bpe().decode(ids), said)
