# -*- test-case-name: tests.scheduling.test_simulator -*-
"""What the configuration says about how requests are served.

A request has the one that holds when it comes until its end, so that a change in between does not give it half of each.
"""

from attrs import frozen

from vllmsim.errors import InvalidRequest
from vllmsim.interfaces import IComposer, ILatencyModel


@frozen(eq=False)
class Behaviour:
    """How requests are served.

    :param latency: how long it takes.
    :param hit_threshold: the share of a prompt that must be cached for it to be served, where its request does not
        say; None where no cache is simulated, so that no request is refused for that.
    :param composer: what answers are made of; None for who has no answers, as one that pools.
    :param most_tokens: how many tokens the choices of a request may tell together; None for any number.
    """

    latency: ILatencyModel
    hit_threshold: float | None = None
    composer: IComposer | None = None
    most_tokens: int | None = None

    def allow(self, tokens: int) -> None:
        """Hold that the answers of a request can be kept.

        :param tokens: how many they tell together.
        :raises InvalidRequest: when that is too many.
        """
        if self.most_tokens is not None and tokens > self.most_tokens:
            raise InvalidRequest(
                f"The answers would tell more than {self.most_tokens} tokens together, their alternatives counted. "
                "Please reduce the number of choices or prompts, their length, or log probabilities."
            )
