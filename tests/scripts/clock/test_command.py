"""What the command makes of its words; what it does then is in tests.integration.test_clock."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError
from vllmsim.scripts.clock.command import Plan, UsageError, asked_of, parser, plan


def planned(line: str, **environ: str) -> Plan:
    """Plan what a command line says."""
    own, others = parser().parse_known_args(line.split())
    return plan(own, others, environ, 1234)


class PlanTests(SynchronousTestCase):
    """From words to a plan."""

    def test_defaults(self) -> None:
        """Alone it runs 100 streams of 100 tokens with a first token after 200 ms, and a gap of 20 ms."""
        what = planned("")
        asked = asked_of(what, 5)
        self.assertEqual((100, 100), (what.streams, what.tokens))
        self.assertEqual((100, 100, 0.2, 0.02, ""), (asked.streams, asked.tokens, asked.first, asked.gap, asked.varies))
        self.assertEqual(100, what.configuration.max_num_seqs)

    def test_words(self) -> None:
        """The daemon's options are the daemon's, wherever they stand, and what they leave open is filled in."""
        what = planned(
            "m1 --streams 7 --inter-token-latency 5ms --tokens=5000 --seed 3", VLLM_HTTP_TIMEOUT_KEEP_ALIVE="1"
        )
        c = what.configuration
        self.assertEqual((7, 5000), (what.streams, what.tokens))
        self.assertEqual(("m1", 3, 0.2, 0.005), (c.model, c.seed, c.time_to_first_token, c.inter_token_latency))
        self.assertEqual((7, 600.0), (c.max_num_seqs, c.timeout_keep_alive))
        self.assertGreater(c.max_model_len, 5000)
        self.assertEqual(c, load_words(what.words, {}).configuration)

    def test_place(self) -> None:
        """Wherever the configuration has it listen, it listens on the loopback address alone, without TLS."""
        words = "--port 80 --host h --ssl-certfile c --ssl-keyfile k --data-parallel-size 4 --startup-duration 9s"
        c = planned(words).configuration
        self.assertEqual(
            ("", "", "", "", 1, 0.0),
            (c.host, c.uds, c.ssl_certfile, c.ssl_keyfile, c.data_parallel_size, c.startup_duration),
        )
        self.assertTrue(c.listen.startswith("tcp:1234:interface=127.0.0.1:"))
        self.assertEqual("", planned("--uds /x --runner pooling --data-parallel-rank 2").configuration.uds)

    def test_time(self) -> None:
        """Whatever time the configuration has, the command tries how well the machine keeps its own."""
        c = planned("--time-scale 10 --scheduling-model step").configuration
        self.assertEqual((1.0, "per-request"), (c.time_scale, c.scheduling_model))
        self.assertEqual("real", planned("--clock virtual").configuration.clock)

    def test_slots(self) -> None:
        """A number of slots that is given is kept: there are no more streams than that."""
        self.assertEqual(
            (8, 8), (planned("--max-num-seqs 8").streams, planned("--max-num-seqs 8").configuration.max_num_seqs)
        )
        what = planned("--max-num-seqs 500 --streams 8")
        self.assertEqual((8, 500), (what.streams, what.configuration.max_num_seqs))

    def test_latencies(self) -> None:
        """A prefill that is counted by tokens is not made constant."""
        what = planned("--prefill-overhead 10ms --prefill-time-per-token 2ms --inter-token-latency 0")
        self.assertEqual((0.02, 0.0), (asked_of(what, 5).first, asked_of(what, 5).gap))

    def test_varied(self) -> None:
        """Means are known where latencies are drawn at random, or grow with the streams that have begun."""
        drawn = asked_of(planned("--inter-token-latency-std-dev 2ms --streams 3"), 5)
        self.assertEqual((0.02, "latencies are drawn at random around their means"), (drawn.gap, drawn.varies))
        loaded = asked_of(planned("--time-factor-under-load 3 --streams 5"), 5)
        self.assertAlmostEqual(0.4, loaded.first)
        self.assertAlmostEqual(0.06, loaded.gap)
        self.assertEqual("latencies depend on the load", loaded.varies)
        self.assertEqual("", asked_of(evolve(planned("--time-factor-under-load 3 --max-num-seqs 1")), 5).varies)

    def test_nonsense(self) -> None:
        """Words that do not go together are refused in words."""
        for line, problem in {
            "--streams 0": "--streams must be from 1 to 20000, not 0",
            "--streams 20001": "--streams must be from 1 to 20000, not 20001",
            "--tokens 1": "--tokens must be at least 2, not 1",
            "--streams 2000 --tokens 1001": "2000 streams of 1001 tokens are more than 2000000 tokens in all",
            "--streams 6 --max-num-seqs 5": "6 streams cannot run at the same time with max-num-seqs 5",
            "--max-model-len 100": "100 tokens and a prompt need a max-model-len of 115",
            "--version": "--version goes with the daemon alone: vllmsim --version",
        }.items():
            self.assertEqual(problem, str(self.assertRaises(UsageError, planned, line)))
        error = self.assertRaises(ConfigurationError, planned, "--inter-token-latency soon")
        self.assertIn("--inter-token-latency (command line): 'soon' will not do", str(error))
