"""No way of writing a path leads past the keys."""

from gzip import compress

from tests.harness import RankTestCase

KEY, ADMIN = "sk-one", "sk-admin"
OPEN = "/v1/chat/completions", "/v1/models", "/v2/embed", "/inference/v1/generate", "/v1/load_lora_adapter"
ADMINISTRATION = "/admin/config", "/admin/config/undo", "/admin/requests", "/admin/scenario", "/fake_metrics"


def written(path: str) -> list[str]:
    """Write a path in all ways that some server takes for the same."""
    first = f"%{ord(path[1]):02x}"
    return [
        path,
        f"/{path}",
        f"//{path}",
        f"/.{path}",
        f"/x/..{path}",
        f"/health/..{path}",
        f"{path}/",
        f"{path}//",
        f"{path}/.",
        f"{path};x=1",
        f"{path}%00",
        f"{path}%20",
        f"{path}?x=/health",
        f"{path}#/health",
        f"/{first}{path[2:]}",
        f"/%25{first[1:]}{path[2:]}",
        path.replace("/", "%2f"),
        path[:1] + path[1:].replace("/", "%2F"),
        path.replace("/", "\\"),
        path.upper(),
        path.title(),
        f"http://example.test{path}",
        f"http://example.test/{path}",
        f"/pfx{path}",
        f"/pfx/{path}",
        f"/pfx/pfx{path}",
        f"/pfx//pfx{path}",
        f"/%70fx{path}",
    ]


class DoorTests(RankTestCase):
    """A server with keys for clients and administrators, which a proxy shows under a path."""

    def served(self, path: str, **headers: str) -> set[tuple[int, bytes]]:
        """Send requests of every method without the key, and list the answers that come from a route."""
        found = set()
        for way in written(path):
            for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
                exchange = self.connect().send(method, way, b'{"messages":[],"input":"x","prompt":"x"}', **headers)
                # What is no request is answered in plain text.
                broken = exchange.status == 400 and exchange.headers["content-type"].startswith("text/plain")
                if not broken and exchange.status not in {307, 401, 404, 405}:
                    found.add((exchange.status, exchange.body))
        return found

    def test_clients(self) -> None:
        """Whoever has no key gets nothing done where one is needed, however the path is written."""
        self.make_rank("--api-key", KEY, "--root-path", "/pfx")
        for path in OPEN:
            self.assertEqual(set(), self.served(path), path)

    def test_compressed(self) -> None:
        """A body that is said to be compressed is not inflated: it is no JSON, however much would come out of it."""
        self.make_rank()
        bomb = compress(b"[" * 10_000_000)
        exchange = self.connect().send_bytes(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(bomb), bomb)
        )
        self.assertEqual((400, "Bad Request"), (exchange.status, exchange.json()["error"]["type"]))

    def test_administrators(self) -> None:
        """Nor does who has no key of administrators, with a client's key or without."""
        self.make_rank("--api-key", KEY, "--admin-api-key", ADMIN, "--root-path", "/pfx")
        for path in ADMINISTRATION:
            for headers in ({}, {"Authorization": f"Bearer {KEY}"}):
                self.assertEqual(set(), self.served(path, **headers), path)
