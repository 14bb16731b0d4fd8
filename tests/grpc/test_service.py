"""How services are declared."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.grpc.numbers import NUMBERS, NumberCalls
from vllmsim.grpc.service import Service


class ServiceTests(SynchronousTestCase):
    """What a declaration says, and what it may not."""

    def test_methods(self) -> None:
        """A service has its methods, with what is said of each."""
        methods = NumberCalls.service.methods
        self.assertEqual({"Double", "Later", "Fail", "Break", "Count", "Sum", "Given", "HangUp", "Ready"}, {*methods})
        self.assertEqual((True, True), (methods["Double"].inference, methods["Double"].remembered))
        self.assertEqual((False, False), (methods["Count"].inference, methods["Count"].remembered))
        self.assertEqual(["Sum"], [name for name, method in methods.items() if method.streams_in])

    def test_other_way(self) -> None:
        """A method is declared as the descriptor has it, and once."""
        service = Service(NUMBERS)

        def method(*_: Any) -> Any:
            """Do nothing."""

        self.assertRaises(ValueError, service.stream, "Double")
        self.assertRaises(ValueError, service.unary, "Count")
        self.assertRaises(ValueError, service.unary, "Sum")
        self.assertRaises(ValueError, service.raw, "Sum")
        self.assertRaises(ValueError, service.unary, "Collect")
        self.assertRaises(KeyError, service.unary, "Nothing")
        service.unary("Double")(method)
        self.assertRaises(ValueError, service.raw, "Double")
