# -*- test-case-name: tests.test_identity -*-
"""How a rank is known to others: where it listens, and the headers and fingerprint that its answers carry."""

import uuid
from typing import Any, Final

from twisted.internet.endpoints import quoteStringArgument

from vllmsim import VLLM_VERSION
from vllmsim.config.administration import endpoint_counted
from vllmsim.config.schema import Configuration
from vllmsim.randomness import derive

_BACKLOG: Final = ":backlog=2048"
"""How many connections may wait to be accepted: as many as before vLLM's server."""
_EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 - what listening everywhere is called
_VERIFY: Final = ("", "optional", "required")
"""What endpoints call the values of ``ssl-cert-reqs``."""


def signature(configuration: Configuration, number: int) -> dict[str, str]:
    """Make the headers that name this server, if it has a name."""
    headers: dict[str, str] = {}
    if configuration.pod_name:
        headers["x-inference-pod"] = configuration.pod_name
        headers["x-inference-port"] = str(configuration.port_of(number))
    if configuration.pod_namespace:
        headers["x-inference-namespace"] = configuration.pod_namespace
    return headers


def fingerprint(configuration: Configuration) -> str | None:
    """Make ``system_fingerprint``: the release, how the model is split, and a hash of what is simulated."""
    c = configuration
    if c.fingerprint_mode == "none":
        return None
    if c.fingerprint_mode == "custom":
        return c.fingerprint_value
    split = (("tp", c.tensor_parallel_size), ("pp", c.pipeline_parallel_size), ("dp", c.data_parallel_size))
    parts = [f"{name}{size}" for name, size in split if size > 1]
    digest = f"{derive(0, VLLM_VERSION, c.model, c.max_model_len, *parts).getrandbits(32):08x}"
    return digest if c.fingerprint_mode == "hash" else "-".join(["vllm", VLLM_VERSION, *parts, digest])


def engine_id(configuration: Configuration, seed: int, number: int) -> str:
    """Make the id by which a rank is known to those who fetch its KV blocks. All ranks of a server tell the same ids.

    :param seed: the daemon's seed.
    """
    if configuration.data_parallel_size > 1:
        return f"{server_engine_id(configuration, seed)}_dp{number}"
    return configuration.kv_transfer.engine_id or _drawn_id(configuration, seed, number)


def server_engine_id(configuration: Configuration, seed: int) -> str:
    """Make the id of all ranks together, behind which each has its number if there are several.

    :param seed: the daemon's seed.
    """
    first = 0 if configuration.data_parallel_size > 1 else configuration.ranks.start
    return configuration.kv_transfer.engine_id or _drawn_id(configuration, seed, first)


def _drawn_id(configuration: Configuration, seed: int, number: int) -> str:
    bits = derive(seed, "engine", configuration.pod_name, configuration.port, number).getrandbits(128)
    return str(uuid.UUID(int=bits, version=4))


def side_channel(configuration: Configuration, number: int) -> tuple[str, int]:
    """Find the host and the port that decode servers are told to fetch a rank's KV blocks from."""
    c = configuration
    return c.nixl_side_channel_host or c.pod_ip or "localhost", c.nixl_side_channel_port + number


def engine_entry(configuration: Configuration, seed: int, number: int) -> dict[str, Any]:
    """Say what Mooncake's bootstrap server tells of a rank: its id, and where each of its workers is.

    :param seed: the daemon's seed.
    """
    c = configuration
    host, port = side_channel(c, number)
    stages = {str(stage): f"tcp://{host}:{port}" for stage in range(c.pipeline_parallel_size)}
    workers = {str(worker): stages for worker in range(max(1, c.tensor_parallel_size))}
    return {"engine_id": engine_id(c, seed, number), "worker_addr": workers}


def endpoint_of(configuration: Configuration, number: int) -> str:
    """Describe where a rank listens, in Twisted's endpoint syntax."""
    c, port = configuration, configuration.port_of(number)
    if c.listen:
        return _fill(c.listen, number, port)
    if c.uds:
        return f"unix:{quoteStringArgument(_fill(c.uds, number, port))}{_BACKLOG}"
    return _on_port(c, number, port)


def _fill(template: str, number: int, port: int) -> str:
    return template.replace("{port}", str(port)).replace("{rank}", str(number))


def _on_port(c: Configuration, number: int, port: int) -> str:
    if not c.speaks_tls:
        return _tcp(c, port) + _BACKLOG
    if c.ssl_certfile:
        prefix, words = "reloadingtls", {"privateKey": c.ssl_keyfile, "certKey": c.ssl_certfile}
        words["reload"] = "" if c.enable_ssl_refresh else "no"
    else:
        names = ",".join(filter(None, (c.host if c.host not in _EVERYWHERE else "", c.pod_ip)))
        prefix, words = (
            "selfsignedtls",
            {"names": names, "certificate": c.self_signed_cert_file.replace("{rank}", str(number))},
        )
    words |= {"caCerts": c.ssl_ca_certs if c.ssl_cert_reqs else "", "verify": _VERIFY[c.ssl_cert_reqs]}
    words |= {"ciphers": c.ssl_ciphers, "interface": c.host}
    given = "".join(f":{name}={quoteStringArgument(value)}" for name, value in words.items() if value)
    return f"{prefix}:{port}{given}{_BACKLOG}"


def grpc_endpoint_of(configuration: Configuration, number: int) -> str | None:
    """Describe where else a rank listens, for clients of gRPC; None if nowhere."""
    port = configuration.grpc_port
    return None if port is None else _on_port(configuration, number, port + number - configuration.ranks.start)


def admin_endpoint_of(configuration: Configuration, number: int) -> str | None:
    """Describe where the routes for administrators are, in Twisted's endpoint syntax; None if with the others.

    A port alone is one like the rank's own: at the same host, with the same certificate.
    """
    c, further = configuration, number - configuration.ranks.start
    if not c.admin_endpoint:
        return None
    if c.admin_endpoint.isdecimal():
        return _on_port(c, number, int(c.admin_endpoint) + further)
    return endpoint_counted(c.admin_endpoint, number, further)


def supervisor_endpoint(configuration: Configuration) -> str:
    """Describe where the supervisor of ranks in processes listens: at the same host, without TLS."""
    return _tcp(configuration, configuration.data_parallel_supervisor_port)


def _tcp(configuration: Configuration, port: int) -> str:
    return f"tcp{'6' if ':' in configuration.host else ''}:{port}{_interface(configuration)}"


def _interface(configuration: Configuration) -> str:
    host = configuration.host
    return f":interface={quoteStringArgument(host)}" if host else ""


def url_of(configuration: Configuration, number: int) -> str:
    """Name a rank's address as logs do, or its endpoint if that has no address."""
    c = configuration
    if c.listen or c.uds:
        return endpoint_of(c, number).removesuffix(_BACKLOG)
    host = f"[{c.host}]" if ":" in c.host else c.host or "0.0.0.0"  # noqa: S104 - what listening everywhere is called
    return f"http{'s' if c.speaks_tls else ''}://{host}:{c.port_of(number)}"
