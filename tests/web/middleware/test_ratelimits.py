"""Rate limits."""

import json
from typing import Any

from tests.harness import Exchange, RankTestCase
from vllmsim.web.middleware.accounts import Accounts
from vllmsim.web.middleware.ratelimits import RateLimits

TENANTS = [{"name": "a", "keys": ["ka"], "requests-per-minute": 2}, {"name": "b", "keys": ["kb"]}]
HI = {"prompt": "hello", "max_tokens": 1}


def limit(**limits: Any) -> tuple[str, str]:
    """Limit those who are no tenants."""
    return "--rate-limit", json.dumps({name.replace("_", "-"): value for name, value in limits.items()})


class LimitedTestCase(RankTestCase):
    """Tests that look at what is left."""

    def ask(self, path: str = "/v1/completions", body: Any = HI, **headers: str) -> Exchange:
        """Send a request, and wait for its answer."""
        exchange = self.post(path, body, **headers)
        self.clock.advance(0)
        return exchange

    def told(self, exchange: Exchange, kind: str = "requests") -> tuple[str | None, ...]:
        """What an answer says of a limit: limit, rest and time."""
        return tuple(exchange.headers.get(f"x-ratelimit-{name}-{kind}") for name in ("limit", "remaining", "reset"))

    def left(self) -> int:
        """Tell how many tokens everybody has left."""
        return self.accounts().of(None).tokens.remaining

    def accounts(self) -> Accounts:
        """Find the accounts."""
        [limits] = [member for member in self.rank.site.chain.members if isinstance(member, RateLimits)]
        return limits.accounts


class RequestLimitTests(LimitedTestCase):
    """So many requests a minute."""

    def test_none(self) -> None:
        """Without limits nothing is said of them."""
        self.make_rank()
        self.assertEqual([], [name for name in self.ask().headers if "ratelimit" in name])

    def test_requests(self) -> None:
        """As many are let in as there is room for, and each answer says what is left."""
        self.make_rank(*limit(requests_per_minute=2))
        first, second, third = self.ask(), self.ask(), self.ask()
        self.assertEqual([200, 200, 429], [each.status for each in (first, second, third)])
        self.assertEqual([("2", "1", "30s"), ("2", "0", "1m0s"), ("2", "0", "1m0s")],
                         list(map(self.told, (first, second, third))))  # fmt: skip
        self.assertEqual(("30", "30000"), (third.headers["retry-after"], third.headers["retry-after-ms"]))
        error = third.json()["error"]
        self.assertEqual(("requests", "rate_limit_exceeded", None), (error["type"], error["code"], error["param"]))
        self.assertIsNone(first.headers.get("x-ratelimit-limit-tokens"))

    def test_refill(self) -> None:
        """Who waits as long as was said is let in, and not a moment sooner."""
        self.make_rank(*limit(requests_per_minute=7))
        for _ in range(7):
            self.assertEqual(200, self.ask().status)
        refused = self.ask()
        wait = int(refused.headers["retry-after-ms"]) / 1000
        self.clock.advance(wait - 0.01)
        self.assertEqual(429, self.ask().status)
        self.clock.advance(0.01)
        self.assertEqual([200, 429], [self.ask().status, self.ask().status])

    def test_burst(self) -> None:
        """Less than a minute's worth at once may be all there is, and answers say the limit of a minute still."""
        self.make_rank(*limit(requests_per_minute=60, burst="2s"))
        self.assertEqual([200, 200, 429], [self.ask().status for _ in range(3)])
        self.clock.advance(1)
        last = self.ask()
        self.assertEqual((200, ("60", "0", "2s")), (last.status, self.told(last)))

    def test_routes(self) -> None:
        """Every answer of a route where a model computes says what is left, streams and errors too, and no other."""
        self.make_rank(*limit(requests_per_minute=100))
        for number, (path, body) in enumerate(
            (
                ("/v1/completions", {**HI, "stream": True}),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}),
                ("/v1/completions", {"prompt": 1.5}),
                ("/v1/completions", {**HI, "model": "nope"}),
                ("/v1/responses", {"input": "x", "max_output_tokens": 1}),
                ("/v1/embeddings", {"input": "x"}),
                ("/rerank", {"query": "a", "documents": ["b"]}),
                ("/invocations", HI),
            ),
            1,
        ):
            self.assertEqual(str(100 - number), self.told(self.ask(path, body))[1], path)
        for path, body in (("/tokenize", HI), ("/v1/nope", HI), ("/abort_requests", {})):
            self.assertEqual((None,) * 3, self.told(self.ask(path, body)), path)
        for path in ("/v1/models", "/health", "/metrics"):
            self.assertEqual((None,) * 3, self.told(self.get(path)), path)

    def test_tenants(self) -> None:
        """Each tenant has an account of its own, whichever key is used; one without a limit has none."""
        self.make_rank("--tenants", json.dumps(TENANTS), *limit(requests_per_minute=1), "--api-key", "k")
        statuses = [
            [self.ask(Authorization=f"Bearer {key}").status for _ in range(4)] for key in ("ka", "kb", "k", "nope")
        ]
        self.assertEqual([[200, 200, 429, 429], [200] * 4, [200, 429, 429, 429], [401] * 4], statuses)
        self.assertEqual(429, self.ask("/invocations").status)

    def test_anthropic(self) -> None:
        """Clients of Anthropic are told in their way."""
        self.make_rank(*limit(requests_per_minute=1))
        body = {"model": "Qwen/Qwen3-0.6B", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        answered, refused = self.ask("/v1/messages", body), self.ask("/v1/messages", body)
        self.assertEqual((200, 429), (answered.status, refused.status))
        self.assertEqual("rate_limit_error", refused.json()["error"]["type"])
        self.assertEqual(("error", "60"), (refused.json()["type"], refused.headers["retry-after"]))
        for exchange in (answered, refused):
            self.assertEqual(
                ("1", "0", "2026-11-22T09:31:33Z"),
                tuple(
                    exchange.headers[f"anthropic-ratelimit-requests-{name}"] for name in ("limit", "remaining", "reset")
                ),
            )
            self.assertEqual((None,) * 3, self.told(exchange))

    def test_refused_costs_nothing(self) -> None:
        """Who is refused is charged nothing, and neither is who has no key."""
        self.make_rank(*limit(requests_per_minute=2), "--api-key", "k")
        self.assertEqual(["1", "0", "0", "0"], [
            self.told(self.ask(Authorization="Bearer k"))[1] for _ in range(4)])  # fmt: skip
        self.clock.advance(30)
        self.ask()
        self.assertEqual("0", self.told(self.ask(Authorization="Bearer k"))[1])

    def test_live(self) -> None:
        """Limits change while the server runs, and what has been used stays so."""
        self.make_rank(*limit(requests_per_minute=2))
        self.ask(), self.ask()
        self.post("/admin/config", {"rate-limit": {"requests-per-minute": 4}})
        self.assertEqual(["1", "0", "0"], [self.told(self.ask())[1] for _ in range(3)])
        self.post("/admin/config", {"rate-limit": {}})
        self.assertEqual((200, (None,) * 3), ((free := self.ask()).status, self.told(free)))

    def test_switched_off(self) -> None:
        """One that is switched off limits nobody."""
        self.make_rank(*limit(requests_per_minute=1), "--middleware", '{"name":"rate-limit","enabled":false}')
        self.assertEqual([200, 200], [self.ask().status for _ in range(2)])

    def test_ranks(self) -> None:
        """Ranks of one process have one account."""
        ranks = self.make_ranks(*limit(requests_per_minute=2), "--data-parallel-size", "2")
        statuses = []
        for rank in (*ranks, *ranks):
            self.rank = rank
            statuses.append(self.ask().status)
        self.assertEqual([200, 200, 429, 429], statuses)

    def test_journal(self) -> None:
        """The journal says who was refused, and whose client it was; tenants can be looked for."""
        self.make_rank("--tenants", json.dumps(TENANTS))
        for key in ("ka", "ka", "ka", "kb", "nope"):
            self.ask(Authorization=f"Bearer {key}")
        requests = self.get("/admin/requests").json()["requests"]
        self.assertEqual(
            [("a", "completed"), ("a", "completed"), ("a", "refused"), ("b", "completed"), (None, "invalid")],
            [(each["tenant"], each["outcome"]) for each in requests],
        )
        for query, count in (("tenant=a", 3), ("tenant=b", 1), ("tenant=", 1), ("tenant=a&tenant=b", 4)):
            self.assertEqual(count, self.get(f"/admin/requests?{query}").json()["total"], query)

    def test_failure_rules(self) -> None:
        """Requests of one tenant can be made to fail."""
        rules = [{"tenant": "b*", "status": 418}]
        self.make_rank("--tenants", json.dumps(TENANTS), "--failure-rules", json.dumps(rules))
        self.assertEqual([200, 418, 200], [
            self.ask(path, Authorization=key).status
            for path, key in (("/v1/completions", "Bearer ka"), ("/v1/completions", "Bearer kb"), ("/invocations", "x"))
        ])  # fmt: skip


class TokenLimitTests(LimitedTestCase):
    """So many tokens a minute."""

    def test_estimate(self) -> None:
        """What is charged at first is an estimate; what was computed takes its place when the answer is there."""
        self.make_rank(*limit(tokens_per_minute=1000), "--time-to-first-token", "1s", "--enable-force-include-usage")
        body = {"prompt": "a b c", "max_tokens": 100, "ignore_eos": False}
        estimate = -(-len(json.dumps(body)) // 4) + 100
        exchange = self.ask(body=body)
        self.assertEqual(1000 - estimate, self.left())
        self.clock.pump([1, 0])
        usage = exchange.json()["usage"]
        self.assertEqual(("1000", str(1000 - estimate)), self.told(exchange, "tokens")[:2])
        # In a second some leaks.
        self.assertEqual(int(1000 - (usage["total_tokens"] - 1000 / 60)), self.left())

    def test_refused(self) -> None:
        """Who wants more than there is waits for it; who wants more than there can ever be is told not to."""
        self.make_rank(*limit(tokens_per_minute=60, burst="60s"), "--time-to-first-token", "100s")
        self.ask(body={"prompt": "x", "max_tokens": 40})
        refused = self.ask(body={"prompt": "x", "max_tokens": 40})
        self.assertEqual((429, "tokens"), (refused.status, refused.json()["error"]["type"]))
        wait = float(refused.headers["retry-after-ms"]) / 1000
        never = self.ask(body={"prompt": "x", "max_tokens": 400})
        self.assertEqual((429, "false", None), (
            never.status, never.headers["x-should-retry"], never.headers.get("retry-after")))  # fmt: skip
        self.clock.advance(wait)
        self.ask(body={"prompt": "x", "max_tokens": 40})
        self.assertEqual(0, self.left())

    def test_both(self) -> None:
        """Where both are limited, both are told, and whoever is let in by one alone is charged neither."""
        self.make_rank(*limit(tokens_per_minute=100, requests_per_minute=10))
        self.ask(body={"prompt": "x", "max_tokens": 200})
        exchange = self.ask()
        self.assertEqual(("9", "100"), (self.told(exchange)[1], self.told(exchange, "tokens")[0]))

    def test_stream(self) -> None:
        """The tokens of a stream count as those of an answer in one piece."""
        spent = []
        for stream in (False, True):
            self.make_rank(*limit(tokens_per_minute=1000))
            self.ask(body={"prompt": "a b c", "max_tokens": 9, "ignore_eos": True, "stream": stream})
            spent.append(1000 - self.left())
        self.assertEqual([12, 12], spent)

    def test_choices(self) -> None:
        """Every choice counts, and so does every prompt."""
        self.make_rank(*limit(tokens_per_minute=1000))
        exchange = self.ask(body={"prompt": ["a b", "c"], "max_tokens": 5, "ignore_eos": True, "n": 2})
        self.assertEqual(exchange.json()["usage"]["total_tokens"], 1000 - self.left())

    def test_client_leaves(self) -> None:
        """Who leaves has the prompt and what was generated until then counted, once."""
        for stream in (False, True):
            self.make_rank(*limit(tokens_per_minute=6000), "--inter-token-latency", "10ms")
            exchange = self.ask(body={"prompt": "a b c", "max_tokens": 50, "ignore_eos": True, "stream": stream})
            self.clock.pump([0.01] * 5)
            exchange.drop()
            self.clock.pump([0] * 2)
            [told] = self.get("/admin/requests").json()["requests"]
            self.assertEqual(3, told["prompt_tokens"])
            self.assertIn(told["generated_tokens"], range(1, 8))
            # 100 tokens a second leak.
            self.assertEqual(int(6000 - (3 + told["generated_tokens"] - 5.0)), self.left())

    def test_wrong_request(self) -> None:
        """What is refused before anything was computed costs no tokens."""
        for words, body, status in (
            ((), {"prompt": 1.5}, 400),
            ((), {**HI, "model": "nope"}, 404),
            (("--failure-injection-rate", "100", "--failure-types", "server_error"), HI, 503),
        ):
            self.make_rank(*limit(tokens_per_minute=1000), *words)
            self.assertEqual((status, 1000), (self.ask(body=body).status, self.left()))

    def test_no_room(self) -> None:
        """Neither does what finds no place in the queue."""
        self.make_rank(
            *limit(tokens_per_minute=1000), "--max-num-seqs", "1", "--max-num-queued-reqs", "1",
            "--time-to-first-token", "1h",
        )  # fmt: skip
        self.ask()
        before = self.left()
        self.assertEqual((503, before), (self.ask().status, self.left()))

    def test_without_journal(self) -> None:
        """Tokens are counted also where no request is remembered."""
        self.make_rank(*limit(tokens_per_minute=1000), "--journal-size", "0")
        exchange = self.ask(body={"prompt": "a b c", "max_tokens": 9, "ignore_eos": True})
        self.assertEqual((12, 12), (exchange.json()["usage"]["total_tokens"], 1000 - self.left()))

    def test_embeddings(self) -> None:
        """Inputs that are pooled count."""
        self.make_rank(*limit(tokens_per_minute=1000))
        exchange = self.ask("/v1/embeddings", {"input": ["a b c", "d"]})
        self.assertEqual(exchange.json()["usage"]["total_tokens"], 1000 - self.left())

    def test_background(self) -> None:
        """A response that is made in the background is charged what it cost when it is made."""
        self.make_rank(
            *limit(tokens_per_minute=1000), "--enable-responses-store", "--time-to-first-token", "1s",
            "--journal-size", "0",
        )  # fmt: skip
        body = {"input": "a b c", "max_output_tokens": 50, "background": True}
        exchange = self.ask("/v1/responses", body)
        self.assertEqual("queued", exchange.json()["status"])
        estimate = -(-len(json.dumps(body)) // 4) + 50
        self.assertEqual(1000 - estimate, self.left())
        self.clock.pump([1, 0, 0])
        usage = self.get(f"/v1/responses/{exchange.json()['id']}").json()["usage"]
        # In a second some leaks.
        self.assertEqual(int(1000 - (usage["total_tokens"] - 1000 / 60)), self.left())

    def test_stopped(self) -> None:
        """Where the middleware is switched off while a request is served, its tokens are counted still."""
        self.make_rank(*limit(tokens_per_minute=1000), "--time-to-first-token", "1s")
        accounts, body = self.accounts(), {"prompt": "a", "max_tokens": 100, "ignore_eos": True}
        exchange = self.ask(body=body)
        self.post("/admin/config", {"rate-limit": {}})
        self.clock.pump([1, 0])
        usage = exchange.json()["usage"]["total_tokens"]
        self.assertEqual(int(1000 - (usage - 1000 / 60)), accounts.of(None).tokens.remaining)
