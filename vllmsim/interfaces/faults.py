# -*- test-case-name: tests.test_interfaces -*-
"""How requests fail on purpose."""

from collections.abc import Callable

from zope.interface import Attribute, Interface

from vllmsim.faults import Facts, FailureReport, Fault


class IFailure(Interface):
    """Decides which requests fail on purpose. Called on the reactor thread, for each request once."""

    active = Attribute(
        "bool: whether any request may fail that does not ask for it with the header X-Return-Error; while none may,"
        " nobody asks about the others."
    )

    def consider() -> Callable[[Facts], Fault | None]:
        """Take what decides now; whatever changes, that holds for a request that comes now.

        :return: decides whether the request fails, once its body has been read: it takes what is known of the request
            and gives what goes wrong with it, or None for nothing. It raises
            :class:`vllmsim.errors.InvalidRequest` when the request asks for an error that cannot be.
        """


class IFailureBook(Interface):
    """Knows which requests have been made to fail."""

    def report() -> FailureReport:
        """Tell how many so far."""

    def reset() -> None:
        """Set all counters to 0, those by which rules decide among them."""
