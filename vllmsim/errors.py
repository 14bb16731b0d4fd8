# -*- test-case-name: tests.test_errors -*-
"""What can go wrong with a request: one tree, raised deep, rendered once by each dialect.

vLLM has two families of error types on the wire. Body validation and limits carry the HTTP phrase (``Bad
Request``); everything it decides itself carries a class name (``BadRequestError``). Both shapes are
``{"error": {"message", "type", "param", "code"}}``.
"""


class InferenceError(Exception):
    """A request that cannot be served, with what its client is told.

    :param message: one sentence for the client. Halves of surrogate pairs, which no body can have, become ``?``.
    :param param: the request field at fault, if one is.
    """

    status: int = 500
    kind: str = "InternalServerError"
    code: int | str | None = None
    """What is told as its code; None for its status."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message.encode("utf-8", "replace").decode()
        self.param = param


class InjectedFailure(InferenceError):
    """A request is made to fail.

    :param code: what is told as its code; None for the status.
    """

    def __init__(
        self, status: int, kind: str, message: str, param: str | None = None, code: int | str | None = None
    ) -> None:
        super().__init__(message, param)
        self.status, self.kind, self.code = status, kind, code


class MalformedRequest(InferenceError):
    """The body is not what the route takes: not JSON, a missing field, a wrong type."""

    status = 400
    kind = "Bad Request"


class UnreadableMessage(MalformedRequest):
    """The message of a gRPC call is not of the type that the method takes."""

    status = 500
    kind = "InternalServerError"

    def __init__(self) -> None:
        super().__init__("Exception deserializing request!")


class BodyTooLarge(InferenceError):
    """The body has more bytes than the server accepts."""

    status = 413
    # Python 3.13 has another phrase for this status.
    kind = "Request Entity Too Large"


class InvalidRequest(InferenceError):
    """The body is well formed and asks for something impossible."""

    status = 400
    kind = "BadRequestError"


class InvalidParameter(InvalidRequest):
    """One field has a value that cannot be served; the message ends by naming it, as vLLM's do.

    :param message: what is wrong.
    :param param: the field.
    :param value: its value, when the message should show it.
    """

    def __init__(self, message: str, param: str, value: object = None) -> None:
        shown = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
        super().__init__(f"{message} ({shown})", param)


class InvalidUserInput(InvalidRequest):
    """An adapter cannot be loaded under this name."""

    kind = "InvalidUserInput"


class PromptTooLong(InvalidParameter):
    """A prompt has more tokens than the context.

    :param limit: the most tokens it may have.
    :param length: how many it has.
    :param exact: whether it was read to its end.
    """

    def __init__(self, limit: int, length: int, *, exact: bool) -> None:
        super().__init__(
            f"This model's maximum context length is {limit} tokens. However, your prompt contains "
            f"{'' if exact else 'at least '}{length} input tokens, which exceeds this limit even without any "
            "output tokens. Please reduce the length of the input prompt.",
            "input_tokens",
            length,
        )


class Unauthorized(InferenceError):
    """The route is for those who have a key, and the request has not."""

    status = 401
    kind = "AuthenticationError"


class UnknownKey(Unauthorized):
    """No API key, or one that is none: told in the same words to clients of any route."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


class PermissionDenied(InferenceError):
    """The route exists, and this server does not serve it."""

    status = 403
    kind = "PermissionDeniedError"


class UnknownAdapter(InferenceError):
    """No adapter is loaded under this name."""

    status = 404
    kind = "NotFoundError"


class UnknownModel(InferenceError):
    """The request names a model that is not served here.

    :param model: the name.
    """

    status = 404
    kind = "NotFoundError"

    def __init__(self, message: str, param: str | None = None, model: str | None = None) -> None:
        super().__init__(message, param)
        self.model = model


class UnknownRequest(InferenceError):
    """The journal remembers no request of that name."""

    status = 404
    kind = "NotFoundError"


class NothingPlayed(InferenceError):
    """No scenario is played that could be stopped."""

    status = 404
    kind = "NotFoundError"


class Conflict(InferenceError):
    """What is asked for does not go with how things are: what is to begin has begun already, say."""

    status = 409
    kind = "Conflict"


class InvalidResponseUse(InferenceError):
    """A stored response, or what would become one, cannot be used so."""

    status = 400
    kind = "invalid_request_error"


class UnknownResponse(InvalidResponseUse):
    """No response is stored under an id."""

    status = 404

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id '{response_id}' not found.", "response_id")


class QueueFull(InferenceError):
    """As many sequences wait as may."""

    status = 429
    kind = "RateLimitError"


class RateLimited(InferenceError):
    """More is asked for than a rate limit lets pass.

    :param kind: of what: ``requests`` or ``tokens``.
    """

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Unsupported(InferenceError):
    """The request is valid for vLLM and not simulated."""

    status = 501
    kind = "NotImplementedError"


class Overloaded(InferenceError):
    """A queue limit of vLLM's is reached."""

    status = 503
    kind = "Service Unavailable"


class Unavailable(InferenceError):
    """The rank does not take requests now."""

    status = 503
    kind = "ServiceUnavailableError"
