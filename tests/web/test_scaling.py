"""The number of ranks."""

from tests.api.test_errors import recordings
from tests.harness import RankTestCase


class ScalingTests(RankTestCase):
    """It is settled."""

    def setUp(self) -> None:
        """Serve the first of two ranks."""
        self.make_rank("-dp", "2")

    def test_missing(self) -> None:
        """A request that does not say how many is refused in vLLM's words."""
        exchange = self.post("/scale_elastic_ep", {})
        self.assertEqual(recordings()["scale"], (exchange.status, exchange.body))

    def test_scale(self) -> None:
        """To scale to what there is succeeds, to anything else does not."""
        exchange = self.post("/scale_elastic_ep", {"new_data_parallel_size": 2, "drain_timeout": 5})
        self.assertEqual((200, {"message": "Scaled to 2 data parallel engines"}), (exchange.status, exchange.json()))
        error = self.post("/scale_elastic_ep", {"new_data_parallel_size": 3}).json()["error"]
        self.assertEqual((400, "Bad Request", None), (error["code"], error["type"], error["param"]))
        self.assertIn("is 2 and cannot change", error["message"])
        for body in ({"new_data_parallel_size": 0}, {"new_data_parallel_size": "x"}, b"x", [1]):
            self.assertEqual(400, self.post("/scale_elastic_ep", body).status)

    def test_state(self) -> None:
        """Nothing is ever being scaled."""
        expected = (
            b'{"is_scaling_elastic_ep":false,"phase":"idle","epoch":null,"error":null,'
            b'"requested_data_parallel_size":null}'
        )
        self.assertEqual(expected, self.post("/is_scaling_elastic_ep", b"").body)
