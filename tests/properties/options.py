"""How ranks are set up: a few options of each kind, with which a small load is a large one."""

from attrs import frozen
from hypothesis import strategies as st

_WORDS = (
    "--model", "m", "--lora-modules", '[{"name": "a", "path": "/a"}, {"name": "b", "path": "/b"}]',
    "--enable-sleep-mode", "--enable-server-load-tracking", "--zmq-endpoint=",
)  # fmt: skip
_BLOCK = 8
_STEPS = ("--scheduling-model", "step")
_STEP_TIMES = (
    ("--step-time-constant", "300ms"), ("--step-time-constant", "1s", "--step-time-per-prefill-token", "100ms"), (),
)  # fmt: skip
_STEP_SIZES = ((), ("--max-num-batched-tokens", "16"), ("--no-enable-chunked-prefill",))
_STEP_OPTIONS = (
    ("--no-scheduler-reserve-full-isl",),
    ("--long-prefill-token-threshold", "8"),
    ("--watermark", "0.2"),
    ("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 2}'),
)
_TRANSFERS = ("--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}')


@frozen
class Setting:
    """A command line, and what rules want to know of it.

    :param steps: whether they go in steps.
    :param balances: whether several ranks have one port.
    :param slow: whether threads and the hashing of prompts take their time.
    :param abrupt: whether they stop, in the end, while somebody is being served.
    """

    words: tuple[str, ...]
    ranks: int = 1
    balances: bool = False
    abrupt: bool = False
    slow: bool = False
    steps: bool = False


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    """Draw some options."""
    words = [*_WORDS]
    # Each is most often, and when all else is left out, as it is without it.
    blocks = draw(st.sampled_from((None, 5, 9, 20, 6)))
    if blocks is not None:
        words += ["--enable-kvcache", "--kv-cache-size", str(blocks), "--block-size", str(_BLOCK)]
        words += ["--event-batch-size", draw(st.sampled_from(("16", "1", "3")))]
        words += ["--event-flush-interval", draw(st.sampled_from(("0", "10ms", "1s")))]
        words += draw(st.sampled_from(((), ("--no-enable-prefix-caching",), ("--kv-cache-metrics",), _TRANSFERS)))
    words += ["--max-num-seqs", str(draw(st.integers(1, 4)))]
    words += ["--max-waiting-queue-length", str(draw(st.sampled_from((1000, 2, 5))))]
    words += ["--time-to-first-token", draw(st.sampled_from(("300ms", "1s", "0")))]
    words += ["--inter-token-latency", draw(st.sampled_from(("300ms", "1s", "0")))]
    words += ["--max-loras", str(draw(st.integers(1, 2))), "--lora-load-time", draw(st.sampled_from(("0", "1s")))]
    words += ["--mode", draw(st.sampled_from(("echo", "random")))]
    ranks, balances = draw(st.sampled_from(((1, False), (1, False), (2, True), (2, False))))
    if ranks > 1:
        words += ["--data-parallel-size", str(ranks)]
    if balances:
        words += ["--data-parallel-internal-lb"]
    for more in (
        ("--scheduling-policy", "priority"),
        ("--enable-responses-store",),
        ("--lora-info-exact",),
        ("--max-cpu-loras", "2"),
        ("--max-num-queued-reqs", "5"),
        ("--max-num-queued-tokens", "40"),
        ("--stream-interval", "3"),
        ("--journal-size", "3"),
        ("--global-cache-hit-threshold", "0.3"),
        ("--enable-force-include-usage",),
        ("--reasoning-parser", "qwen3"),
        ("--enable-prompt-tokens-details",),
        ("--startup-duration", "2s"),
        ("--tokenizer", "builtin"),
        ("--send-timeout", "2s", "--timeout-keep-alive", "1s"),
        ("--kv-cache-transfer-latency", "1s", "--time-factor-under-load", "3"),
        ("--max-stored-responses", "2"),
        ("--prefill-time-per-token", "50ms", "--prefill-time-std-dev", "10ms"),
        ("--rate-limit", '{"requests-per-minute": 20, "tokens-per-minute": 300}'),
    ):
        if draw(st.integers(0, 3)) == 3:
            words += more
    steps = draw(st.integers(0, 2)) == 2
    if steps:
        words += _STEPS
        words += draw(st.sampled_from(_STEP_TIMES))
        words += draw(st.sampled_from(_STEP_SIZES))
        for more in _STEP_OPTIONS:
            if draw(st.integers(0, 3)) == 3:
                words += more
    return Setting(tuple(words), ranks, balances, draw(st.booleans()), draw(st.booleans()), steps)
