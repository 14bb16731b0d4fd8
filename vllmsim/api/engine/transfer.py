# -*- test-case-name: tests.api.engine.test_transfer -*-
"""Where the KV blocks of prompts are, in messages of ``VllmEngine``.

``kv_transfer_params_json`` is a JSON object, the ``kv_transfer_params`` of requests over HTTP. The message
``kv_transfer_params`` is older: it has nothing but the host and the port of the server that has run the prefill, which
a decode server is to ask for the prompt's blocks.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.transfer import NO_TRANSFER, Transfer, TransferParams, transfer_of
from vllmsim.errors import InvalidRequest

_PORTS: Final = range(1, 65536)
_PARAMS: Final = TypeAdapter(TransferParams)


def read_transfer(request: pb.GenerateRequest) -> Transfer | None:
    """Read what is to become of the blocks of a request's prompt.

    :return: None for a request that says nothing of them, not even an empty object.
    :raises InvalidRequest: when what it says cannot be read.
    """
    if request.HasField("kv_transfer_params_json"):
        return _read_json(request.kv_transfer_params_json)
    if not request.HasField("kv_transfer_params"):
        return None
    given = request.kv_transfer_params
    if not given.remote_host or given.remote_port not in _PORTS:
        raise InvalidRequest(
            "Invalid kv_transfer_params: remote_host must be set and remote_port must be in [1, 65535]."
        )
    return Transfer(prefilled=True)


def _read_json(text: str) -> Transfer:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"Invalid kv_transfer_params_json: {error}") from None
    except (ValueError, RecursionError):
        raise InvalidRequest("Invalid kv_transfer_params_json: it cannot be read") from None
    if not isinstance(value, dict):
        raise InvalidRequest("kv_transfer_params_json must be a JSON object")
    if not value:
        return NO_TRANSFER
    try:
        return transfer_of(_PARAMS.validate_python(value))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
    raise InvalidRequest(f"Invalid kv_transfer_params_json: {wrong['loc'][0]}: {wrong['msg']}")


def write_transfer(complete: pb.GenerateComplete, handover: Mapping[str, Any] | None) -> None:
    """Say where another server finds the blocks of a prompt, in both forms.

    :param handover: what that server is to be told; None for nothing.
    """
    if handover is None:
        return
    complete.kv_transfer_params_json = orjson.dumps(handover).decode()
    host, port = handover["remote_host"], handover["remote_port"]
    if host and port in _PORTS:
        complete.kv_transfer_params.remote_host = host
        complete.kv_transfer_params.remote_port = port
