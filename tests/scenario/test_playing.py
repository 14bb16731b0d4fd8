"""How far a scenario has come."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.scenario.reading import parse_scenario
from vllmsim.scenario.playing import Playing


class PlayingTests(SynchronousTestCase):
    """One that was begun at ten seconds."""

    def setUp(self) -> None:
        """Have one of four steps, in its second round."""
        ramp = {"inter-token-latency": [0, "1s"]}
        scenario = parse_scenario(
            {
                "name": "x",
                "duration": "8s",
                "repeat": "forever",
                "steps": [
                    {"at": "0s", "ramp": ramp | {"kv-pressure": 1}, "over": "1s"},
                    {"at": "1s", "ramp": ramp, "over": "1s"},
                    {"at": "2s", "ready": True},
                    {"at": "7s", "ready": False},
                ],
            }
        )
        self.playing = Playing(scenario, (), 3, 10.0, 1000.0)
        self.playing.round, self.playing.taken = 2, 3

    def test_rounds(self) -> None:
        """Rounds follow each other without gaps."""
        self.assertEqual(18.0, self.playing.round_begun)

    def test_ramping(self) -> None:
        """What a ramp does is laid to the last step that has begun one, of that option if one is named."""
        self.assertEqual(2, self.playing.ramping().number)
        self.assertEqual([2, 1], [self.playing.ramping(name).number for name in ("inter-token-latency", "kv-pressure")])

    def test_told(self) -> None:
        """While it is played the time goes on, and the next step comes nearer; then both stand still."""
        told = self.playing.describe(21.5)
        self.assertEqual((11.5, {"step": 4, "in": 3.5}, None), (told["elapsed"], told["next"], told["outcome"]))
        self.assertEqual([True, True, True, False], [step["done"] for step in told["steps"]])
        self.playing.outcome, self.playing.lasted = "stopped", 12.0
        told = self.playing.describe(99.0)
        self.assertEqual((12.0, None, "stopped"), (told["elapsed"], told["next"], told["outcome"]))
