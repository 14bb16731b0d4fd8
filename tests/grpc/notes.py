"""A journal for tests."""

from vllmsim.records import HttpFacts, RequestRecord


class Notes:
    """A journal that keeps everything."""

    def __init__(self) -> None:
        self.begun: list[RequestRecord] = []
        self.ended: list[RequestRecord] = []

    def begin(self, route: str, http: HttpFacts | None) -> RequestRecord:
        """Begin a record."""
        self.begun.append(RequestRecord(route, http=http))
        return self.begun[-1]

    def end(self, record: RequestRecord, *, gone: bool = False) -> None:
        """Keep it."""
        record.ends(0.0, "disconnected" if gone else None)
        self.ended.append(record)
