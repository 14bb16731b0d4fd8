# -*- test-case-name: tests.config.test_middlewares -*-
"""What a configuration says of who may call, as a whole."""

from vllmsim.config.middlewares import OURS
from vllmsim.config.schema import Configuration


def middleware_doubt(configuration: Configuration) -> str:
    """Say what a list of middlewares makes of keys that nobody may have meant; empty for nothing."""
    c = configuration
    if not (c.tenants or c.api_key or c.api_key_file):
        return ""
    enabled = {each.name: each.enabled for each in c.middleware}
    if not enabled.get("api-key", True):
        return "There are keys, and nobody needs one: middleware has api-key switched off."
    names = [*enabled, *(name for name in OURS if name not in enabled)]
    limited = any(tenant.limit is not None for tenant in c.tenants) and enabled.get("rate-limit", True)
    if limited and names.index("rate-limit") < names.index("api-key"):
        return "Limits of tenants have no effect: middleware has rate-limit before api-key, which knows them."
    return ""
