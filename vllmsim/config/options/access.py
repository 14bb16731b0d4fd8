# -*- test-case-name: tests.config.test_schema -*-
"""Who may call, and how what they say is kept secret."""

from typing import Final

from attrs import frozen

from vllmsim.config.keys import KeyFile, KeyPath, Keys, OwnKey
from vllmsim.config.kinds import Flag, Parsed, Text
from vllmsim.config.middlewares import OURS, MiddlewareEntry, Middlewares
from vllmsim.config.option import option
from vllmsim.config.tenants import RateLimit, Tenant, parse_rate_limit, parse_tenants, write_rate_limit, write_tenants


def _parse_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return tuple(value)


_TEXTS: Final = Parsed(_parse_texts, list, "a JSON list of texts")


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class AccessOptions:
    """Who may call, and how what they say is kept secret. Durations are seconds."""

    # fmt: off
    api_key: tuple[str, ...] = option("access", Keys(), (),
        "Keys, one of which a request to /v1, /v2, /inference or /cohere must have, as Authorization: Bearer KEY.",
        environment="VLLM_API_KEY", live=True, secret=True)
    api_key_file: KeyFile | None = option("access", KeyPath(), None,
        "File with more such keys, one on each line. It is read again with the configuration.",
        environment="VLLMSIM_API_KEY_FILE", live=True, files=True)
    tenants: tuple[Tenant, ...] = option("access",
        Parsed(parse_tenants, write_tenants, "a list of maps, or a map of names to maps, of name, keys, key-file,"
               " requests-per-minute, tokens-per-minute and burst"), (),
        "Who shares this server: each has keys, which are API keys too, and limits of its own.", live=True, secret=True,
        files=True)
    rate_limit: RateLimit | None = option("access",
        Parsed(parse_rate_limit, write_rate_limit, "a map of requests-per-minute, tokens-per-minute and burst"), None,
        "What all together may ask for who have no key of a tenant; burst is the time whose worth may be had at once,"
        " 60s if not given.", live=True)
    middleware: tuple[MiddlewareEntry, ...] = option("access", Middlewares(), (),
        "What stands between clients and routes, the outermost first: names, or maps of name, enabled and options of"
        f" plugins. Of ours there are {', '.join(OURS)}, in this order unless it says another.", live=True)
    allowed_origins: tuple[str, ...] = option("access", _TEXTS, (),
        'Origins whose pages may call from browsers; ["*"] for all.', live=True)
    allowed_methods: tuple[str, ...] = option("access", _TEXTS, ("*",),
        "Methods that they may use.", live=True)
    allowed_headers: tuple[str, ...] = option("access", _TEXTS, ("*",),
        "Headers that they may send.", live=True)
    allow_credentials: bool = option("access", Flag(), False,
        "Let them send cookies and other credentials.", live=True)
    admin_endpoint: str = option("access", Text(), "",
        "Where the routes for administrators are instead of at each rank's port: a port, or a Twisted endpoint such as"
        " unix:/run/vllmsim.sock; each further rank has the next port, or its number for {rank}.")
    admin_api_key: str = option("access", OwnKey(), "",
        "Key that they ask for, as Authorization: Bearer KEY; none if empty.",
        environment="VLLMSIM_ADMIN_API_KEY", secret=True)

    access_log: bool = option("logs", Flag(), False,
        "Log a line for each request, as uvicorn does.", live=True)
    disable_uvicorn_access_log: bool = option("logs", Flag(), False,
        "Log none in any case.", live=True)
    disable_access_log_for_endpoints: str | None = option("logs", Text(), None,
        "Paths, with commas between them, whose requests are left out of that.", live=True)
    # fmt: on
