# -*- test-case-name: tests.test_interfaces -*-
"""What is remembered of one request: delivery begins it, scheduling writes to it what happens, delivery ends it."""

from attrs import define


@define(eq=False)
class RequestRecord:
    """One request, from its arrival to its end and beyond.

    :param route: the template of the path that it came on, or the method of another protocol.
    """

    route: str
