# -*- test-case-name: tests.tls.test_identities -*-
"""What keeps TLS from being spoken."""


class TlsError(ValueError):
    """TLS cannot be spoken as it is asked for; the message says why, in one line."""
