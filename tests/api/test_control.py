"""What operators send."""

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.body import Head
from vllmsim.api.control import check_profile, check_rpc, read_abort, read_scaling
from vllmsim.api.extent import Extent
from vllmsim.errors import MalformedRequest

JSON = Head("application/json")
ANY = Head("text/plain", extent=Extent(depth=9, items=200_000))


class ControlTests(SynchronousTestCase):
    """Bodies of operators' requests."""

    def test_abort(self) -> None:
        """Ids are a list of texts; no list, and no body, are told from an empty list."""
        cases: tuple[tuple[bytes, list[str] | None], ...] = (
            (b"", None), (b"{}", None), (b'{"request_ids":null}', None), (b'{"request_ids":[]}', []),
            (b'{"request_ids":["a"]}', ["a"]),
        )  # fmt: skip
        for body, ids in cases:
            self.assertEqual(ids, read_abort(body, ANY))

    def test_many_wrong_ids(self) -> None:
        """Of a hundred thousand wrong ids the first is named, and no time is lost on the others."""
        body = b'{"request_ids":[' + b",".join([b"1"] * 100_000) + b"]}"
        error = self.assertRaises(MalformedRequest, read_abort, body, ANY)
        self.assertTrue(error.message.startswith("1 validation error:"))
        self.assertEqual("body.request_ids.0", error.param)

    def test_extent(self) -> None:
        """The limits of bodies are the server's."""
        for read in (check_rpc, check_profile, read_abort):
            error = self.assertRaises(MalformedRequest, read, b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", ANY)
            self.assertIn("9 levels", error.message)

    def test_scaling(self) -> None:
        """How many ranks there should be is a positive number, and must be said."""
        self.assertEqual(3, read_scaling(b'{"new_data_parallel_size":3}', JSON))
        error = self.assertRaises(MalformedRequest, read_scaling, b'{"drain_timeout":1}', JSON)
        self.assertEqual(("new_data_parallel_size is required", None), (error.message, error.param))
        self.assertRaises(MalformedRequest, read_scaling, b'{"new_data_parallel_size":3}', Head("text/plain"))

    def test_refused(self) -> None:
        """Bodies that are something else are refused."""
        wrong: tuple[tuple[Callable[[bytes, Head], object], bytes], ...] = (
            (read_abort, b"[]"), (check_rpc, b"{}"), (check_rpc, b""), (check_profile, b"[]"),
        )  # fmt: skip
        for read, body in wrong:
            self.assertRaises(MalformedRequest, read, body, ANY)

    def test_taken(self) -> None:
        """Bodies that vLLM takes are taken."""
        check_rpc(b'{"method":"f","args":[1],"kwargs":{"a":2},"timeout":1.5}', ANY)
        check_profile(b"", ANY)
        check_profile(b'{"profile_prefix":"p","profiler_kwargs":{"a":1}}', ANY)
