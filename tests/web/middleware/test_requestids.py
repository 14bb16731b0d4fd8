"""Request ids."""

from tests.harness import RankTestCase


class RequestIdTests(RankTestCase):
    """What answers are named."""

    def test_off(self) -> None:
        """No answer has an id unless that is asked for, whatever its request has."""
        self.make_rank()
        self.assertNotIn("x-request-id", self.get("/health", X_Request_Id="mine").headers)

    def test_on(self) -> None:
        """Each answer has its request's id as it was sent, or a new one of 32 digits; errors and preflights too."""
        self.make_rank("--enable-request-id-headers")
        for exchange in (self.get("/health", X_Request_Id="mine"), self.get("/nope", X_Request_Id="mine")):
            self.assertEqual("mine", exchange.headers["x-request-id"])
        ids = {
            self.get("/health").headers["x-request-id"],
            self.get("/health", X_Request_Id="").headers["x-request-id"],
        }
        self.assertEqual(2, len(ids))
        for each in ids:
            self.assertRegex(each, "^[0-9a-f]{32}$")
        preflight = {"Origin": "http://page.test", "Access_Control_Request_Method": "GET"}
        self.assertIn("x-request-id", self.connect().send("OPTIONS", "/health", None, **preflight).headers)

    def test_any_bytes(self) -> None:
        """An id of any bytes comes back as these bytes."""
        self.make_rank("--enable-request-id-headers")
        exchange = self.connect().send_bytes(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: \xff\xc3\xa9\r\n\r\n")
        self.assertIn(b"x-request-id: \xff\xc3\xa9\r\n", exchange.raw)
