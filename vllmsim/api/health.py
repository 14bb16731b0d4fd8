# -*- test-case-name: tests.api.test_health -*-
"""The messages of ``grpc.health.v1``: how load balancers and probes ask a gRPC server whether it is well.

``Check`` is asked for a service by name, or for the whole server by no name, and tells its status; ``List`` tells the
status of all; ``Watch`` tells one now and again whenever it changes.
"""

from typing import Any, Final

from vllmsim.api.declared import Declared, Enum, Message, Method, Service, declare

HEALTH: Final[Declared] = declare(
    "grpc/health/v1/health.proto",
    "grpc.health.v1",
    Message("HealthCheckRequest", ("string", "service", 1)),
    Message(
        "HealthCheckResponse",
        Enum("ServingStatus", "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"),
        ("ServingStatus", "status", 1),
    ),
    Message("HealthListRequest"),
    Message("HealthListResponse", ("map<string, HealthCheckResponse>", "statuses", 1)),
    Service(
        "Health",
        Method("Check", "HealthCheckRequest", "HealthCheckResponse"),
        Method("List", "HealthListRequest", "HealthListResponse"),
        Method("Watch", "HealthCheckRequest", "HealthCheckResponse", streams_out=True),
    ),
)
"""The file ``health.proto``."""

HealthCheckRequest: Final[Any] = HEALTH.message("HealthCheckRequest")
"""Which service is asked for; the empty name is the whole server."""
HealthCheckResponse: Final[Any] = HEALTH.message("HealthCheckResponse")
"""How it is: its class has the statuses, such as ``HealthCheckResponse.SERVING``."""
HealthListRequest: Final[Any] = HEALTH.message("HealthListRequest")
"""Nothing: all are asked for."""
HealthListResponse: Final[Any] = HEALTH.message("HealthListResponse")
"""How each service is, by name."""
