"""Stored responses."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.responses.store import ResponseStore, Status, StoredResponse
from vllmsim.errors import InvalidResponseUse, UnknownResponse
from vllmsim.inference import Media, Message

HELLO = (Message("user", "hello"),)


def stored(name: str, size: int = 0, status: Status = "completed") -> StoredResponse:
    """Make a response whose object has so many bytes."""
    return StoredResponse(name, status, b"x" * size, HELLO, [{"id": f"msg_{name}", "type": "message"}])


class StoreTests(SynchronousTestCase):
    """What is kept, and for how long."""

    def test_found(self) -> None:
        """What is kept is found by its id; what is not, is not."""
        store = ResponseStore(2)
        response = stored("a")
        store.keep(response)
        self.assertIs(response, store.find("a"))
        error = self.assertRaises(UnknownResponse, store.find, "b")
        self.assertEqual((404, "invalid_request_error", "response_id"), (error.status, error.kind, error.param))

    def test_none(self) -> None:
        """A store for none keeps nothing."""
        store = ResponseStore()
        store.keep(stored("a"))
        self.assertFalse(store.enabled)
        self.assertRaises(UnknownResponse, store.find, "a")
        self.assertRaises(InvalidResponseUse, store.item, "msg_a")
        self.assertTrue(ResponseStore(1).enabled)

    def test_number(self) -> None:
        """When there are too many, the least recently used goes first, with its items."""
        store = ResponseStore(2)
        store.keep(stored("a"))
        store.keep(stored("b"))
        store.find("a")
        store.keep(stored("c"))
        self.assertRaises(UnknownResponse, store.find, "b")
        self.assertRaises(InvalidResponseUse, store.item, "msg_b")
        self.assertEqual(["a", "c"], [store.find(name).id for name in "ac"])

    def test_items_are_uses(self) -> None:
        """Going on from a response, or referring to an item of it, is a use of it."""
        store = ResponseStore(2)
        for use in (lambda: store.item("msg_a"), lambda: store.conversation("a")):
            store.keep(stored("a"))
            store.keep(stored("b"))
            use()
            store.keep(stored("c"))
            self.assertEqual("a", store.find("a").id)

    def test_bytes(self) -> None:
        """However few they are, together they do not become too large; one that is too large alone is not kept."""
        store = ResponseStore(100, 1000)
        for name in "abcde":
            store.keep(stored(name, 120))
        self.assertRaises(UnknownResponse, store.find, "a")
        self.assertEqual("b", store.find("b").id)
        store.keep(stored("huge", 600))
        for name in ("b", "c", "d", "e", "huge"):
            self.assertRaises(UnknownResponse, store.find, name)
        store.keep(stored("f"))
        self.assertEqual("f", store.find("f").id)

    def test_size(self) -> None:
        """The size counts all that clients can make large."""
        messages = (Message("user", "12345", media=(Media("image", "1234567"),)),)
        response = StoredResponse("a", "completed", b"123", messages, (), [b"1", b"23"])
        self.assertEqual(2 * (3 + 5 + 7) + 3, response.size)

    def test_same_id(self) -> None:
        """A response takes the place of an earlier one of its id, and of its items."""
        store = ResponseStore(5, 1000)
        for _ in range(100):
            store.keep(stored("a", 200))
        self.assertEqual("a", store.find("a").id)
        store.keep(StoredResponse("a", "completed", b"", HELLO, [{"id": "msg_other"}]))
        self.assertRaises(InvalidResponseUse, store.item, "msg_a")
        self.assertEqual({"id": "msg_other"}, store.item("msg_other"))

    def test_going_on(self) -> None:
        """A response goes on if it came to a good end."""
        store = ResponseStore(9)
        good: tuple[Status, ...] = ("completed", "incomplete")
        for status in good:
            store.keep(stored("a", status=status))
            self.assertEqual(HELLO, store.conversation("a"))
        bad: tuple[Status, ...] = ("failed", "cancelled")
        for status in bad:
            store.keep(stored("a", status=status))
            error = self.assertRaises(InvalidResponseUse, store.conversation, "a")
            self.assertEqual(
                (f"Response with id 'a' is {status}.", "previous_response_id"), (error.message, error.param)
            )
        self.assertRaises(UnknownResponse, store.conversation, "b")

    def test_running(self) -> None:
        """A response that is being made cannot go on, and none of its id can begin until it has come to its end."""
        store = ResponseStore(9)
        store.begin("a")
        error = self.assertRaises(InvalidResponseUse, store.conversation, "a")
        self.assertIn("still in progress", error.message)
        self.assertRaises(InvalidResponseUse, store.begin, "a")
        store.keep(stored("a"))
        self.assertRaises(InvalidResponseUse, store.begin, "a")
        store.end("a")
        self.assertEqual(HELLO, store.conversation("a"))
        store.begin("a")
