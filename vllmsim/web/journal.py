# -*- test-case-name: tests.web.test_journal -*-
"""The routes that show which requests have come, and what has become of them."""

from typing import ClassVar, Final

import orjson
from attrs import define
from klein import Klein
from twisted.internet.interfaces import IReactorTime

from vllmsim.api.description import Response
from vllmsim.api.journal import JournalQuery, Listing, read_listing
from vllmsim.api.records import record_object, sequences_object
from vllmsim.api.shapes.journal import Forgotten, RecordedRequest, RecordedRequests
from vllmsim.errors import MalformedRequest, Overloaded, UnknownRequest
from vllmsim.interfaces import IJournal
from vllmsim.turns import Turn
from vllmsim.web.answered import JSON
from vllmsim.web.described import described
from vllmsim.web.request import Request

_SHOWN: Final = 64
_AT_ONCE: Final = 1 << 16
"""How many bytes are written together, at the least if there are more."""


@define(slots=False, eq=False)
class JournalRoutes:
    """Shows the requests of a rank."""

    app: ClassVar[Klein] = Klein()

    _clock: IReactorTime
    _journal: IJournal

    @app.route("/admin/requests", methods=["GET"])
    @described("Administration", Response(RecordedRequests), query=JournalQuery, errors=(MalformedRequest, Overloaded))
    async def requests(self, request: Request) -> None:
        """Answer with the requests that pass all filters."""
        listing = read_listing(request.arguments)
        if listing.wait_for is not None:
            await self._journal.ended(listing.wanted, listing.wait_for, listing.timeout)
        await self._write(listing, request)

    async def _write(self, listing: Listing, request: Request) -> None:
        """Write the requests as the client reads, letting other events in between."""
        turn, dropped = Turn(self._clock), self._journal.dropped
        records = self._journal.records()
        sequences = orjson.dumps(sequences_object(records))
        if listing.newest_first:
            records.reverse()
        written, total = bytearray(b'{"requests":['), 0
        for record in records:
            if listing.wanted(record):
                total += 1
                if listing.limit is None or total <= listing.limit:
                    written += b"," * (total > 1) + orjson.dumps(record_object(record, body=listing.bodies))
            if len(written) > _AT_ONCE:
                request.setHeader(b"Content-Type", JSON)
                await request.room()
                request.write(bytes(written))
                written.clear()
            await turn.step()
        written += b'],"total":%d,"dropped":%d,"sequences":%b}' % (total, dropped, sequences)
        if request.startedWriting:
            await request.room()
            request.write_last(bytes(written))
        else:
            request.answer(200, bytes(written))

    @app.route("/admin/requests", methods=["DELETE"], endpoint="forget")
    @described("Administration", Response(Forgotten))
    def forget(self, request: Request) -> None:
        """Forget the requests that have ended."""
        request.answer(200, b'{"forgotten":%d}' % self._journal.forget())

    @app.route("/admin/requests/<name>", methods=["GET"])
    @described("Administration", Response(RecordedRequest), errors=(UnknownRequest,))
    def one(self, request: Request, name: str) -> None:
        """Answer with one request and what is kept of its body."""
        record = self._journal.find(name)
        if record is None:
            raise UnknownRequest(f"No request goes by {name[:_SHOWN]!r} here, or it has been forgotten.")
        request.answer(200, orjson.dumps(record_object(record, body=True)))
