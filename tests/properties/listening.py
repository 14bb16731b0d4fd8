"""Everything that goes to the log as an error, so that nothing goes wrong unseen."""

from types import TracebackType
from typing import Any, Self

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer


@implementer(ILogObserver)
@define(eq=False)
class Errors:
    """Remembers errors that are logged while it listens."""

    heard: list[str] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        """Hear of an event."""
        level: Any = event.get("log_level", LogLevel.info)
        if level >= LogLevel.error:
            failure = event.get("log_failure")
            self.heard.append(formatEvent(event) + ("" if failure is None else "\n" + failure.getTraceback()))

    def __enter__(self) -> Self:
        """Begin to listen."""
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        globalLogPublisher.removeObserver(self)
