"""A whole rank that goes in steps and guesses tokens ahead."""

import json
from typing import Any

from tests.harness import Exchange
from tests.scheduling.steps.test_engine import STEP, EngineCase

HI = {"role": "user", "content": "hi"}
GUESSING = "--speculative-config"


def said(exchange: Exchange) -> str:
    """Put the text of a stream together."""
    return "".join(event["choices"][0]["text"] for event in exchange.events() if event != "[DONE]")


class SpeculationTests(EngineCase):
    """Guessed tokens, from the configuration to the stream."""

    def guess(self, rate: float, *words: str, **members: Any) -> None:
        """Have a rank that guesses three tokens at a time."""
        config = {"method": "ngram", "num_speculative_tokens": 3, "acceptance_rate": rate, **members}
        self.make(GUESSING, json.dumps(config), *words)

    def counts(self) -> tuple[float, float, list[float]]:
        """Tell how many drafts and guesses were verified, and how many were right by their place."""
        drafts, guesses, right = self.values(
            *(f"spec_decode_num_{each}_total" for each in ("drafts", "draft_tokens", "accepted_tokens"))
        )
        name = 'vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="Qwen/Qwen3-0.6B",position='
        places = [self.sample(f'{name}"{place}"}}') for place in range(3)]
        self.assertEqual(right, sum(places))
        return drafts, guesses, places

    def test_several(self) -> None:
        """A step gives a stream all tokens that it has verified, in one event; they are counted, and so is the gap."""
        self.guess(1)
        asked = self.ask(tokens=10)
        self.assertEqual([[1], [2], [3], [4]], self.steps(4, asked))
        self.assertTrue(asked.complete)
        self.assertEqual((3, 9, [3, 3, 3]), self.counts())
        names = "generation_tokens_total", "inter_token_latency_seconds_count", "inter_token_latency_seconds_sum"
        self.assertEqual([10, 3], self.values(*names[:2]))
        self.assertApproximates(0.3, self.values(names[2])[0], 1e-6)
        self.assertEqual([4.0, 14.0], self.values("iteration_tokens_total_count", "iteration_tokens_total_sum"))

    def test_routes(self) -> None:
        """On every route that streams, what a step gives is one event."""
        asked: list[tuple[str, dict[str, Any], str]] = [
            ("/v1/completions", {"prompt": [1, 2]}, '"text":"'),
            ("/v1/completions", {"prompt": [1, 2], "logprobs": 1, "return_token_ids": True}, '"text":"'),
            ("/v1/chat/completions", {"messages": [HI]}, '"delta":{"content":"'),
            ("/v1/chat/completions", {"messages": [HI], "logprobs": True}, '"delta":{"content":"'),
            ("/v1/responses", {"input": "hi"}, '"type":"response.output_text.delta"'),
            ("/v1/messages", {"messages": [HI], "model": "m"}, '"type":"content_block_delta"'),
            ("/inference/v1/generate", {"token_ids": [1, 2], "sampling_params": {}}, '"token_ids":['),
        ]
        for path, body, mark in asked:
            self.guess(1, "--served-model-name", "m")
            limit = "max_output_tokens" if path.endswith("responses") else "max_tokens"
            body.get("sampling_params", body).update({limit: 10, "ignore_eos": True})
            exchange = self.post(path, {**body, "stream": True})
            before, seen = exchange.body.decode().count(mark), []
            for _ in range(4):
                self.clock.advance(STEP)
                seen.append(exchange.body.decode().count(mark) - before)
            self.assertEqual([1, 2, 3, 4], seen, (path, exchange.body))

    def test_wrong(self) -> None:
        """Where no guess is right a step gives one token, as without."""
        self.guess(0)
        asked = self.ask(tokens=4)
        self.assertEqual([[1], [2], [3], [4]], self.steps(4, asked))
        self.assertEqual((3, 9, [0, 0, 0]), self.counts())

    def test_same_answer(self) -> None:
        """With guesses or without, a sequence says the same."""
        self.make()
        plain = self.ask(tokens=30, request_id="r")
        self.steps(31)
        self.guess(0.6)
        guessed = self.ask(tokens=30, request_id="r")
        self.steps(31)
        self.assertTrue(plain.complete)
        self.assertEqual(said(plain), said(guessed))
        self.assertLess(len(guessed.events()), len(plain.events()))

    def test_repeated(self) -> None:
        """A request with a seed has the same guesses right each time, whoever else is there."""
        self.guess(0.6)
        told = []
        for others in range(2):
            for _ in range(others):
                self.ask(tokens=50)
            asked = self.ask(tokens=30, seed=5)
            self.steps(31)
            told.append([each["choices"][0]["text"] for each in asked.events()[:-1]])
        self.assertEqual(*told)

    def test_mean(self) -> None:
        """Steps give as many tokens as the mean acceptance length says."""
        self.guess(0.7, "--max-model-len", "2048", "--max-num-seqs", "16")
        asked = [self.ask(tokens=1000, request_id=f"r{number}") for number in range(16)]
        self.steps(600)
        self.assertTrue(all(each.complete for each in asked))
        drafts, _, places = self.counts()
        for place, share in enumerate((0.7, 0.49, 0.343)):
            self.assertApproximates(share, places[place] / drafts, 0.02)
        self.assertApproximates(1 + 0.7 + 0.49 + 0.343, 16 * 1000 / drafts, 0.05)

    def test_late_token(self) -> None:
        """A token that is late on purpose is late also where a step would give more."""
        rule = {"name": "s", "stall": {"tokens": 3, "for": "1s"}}
        self.guess(1, "--failure-rules", json.dumps([rule]))
        asked = self.ask(tokens=10)
        self.steps(2, asked)
        self.assertEqual(2, self.told(asked)[0])
        self.steps(9, asked)
        self.assertEqual(2, self.told(asked)[0])
        self.steps(5, asked)
        self.assertTrue(asked.complete)

    def test_lookahead(self) -> None:
        """What guesses with keys and values of its own has blocks for that, and no sequence more than the longest."""
        shares = []
        for method in ("ngram", "eagle"):
            self.guess(0, "--kv-cache-size", "21", method=method, model="m")
            self.ask(8, tokens=30)
            shares.append(self.values("kv_cache_usage_perc")[0])
            self.steps(40)
            self.assertEqual([0], self.values("kv_cache_usage_perc"))
        self.assertEqual([1 / 20, 2 / 20], shares)

    def test_per_request(self) -> None:
        """Without steps nothing is guessed, and the counters stay at 0."""
        self.guess(1, "--scheduling-model", "per-request")
        self.ask(tokens=3)
        self.clock.advance(1)
        self.assertEqual((0, 0, [0, 0, 0]), self.counts())
