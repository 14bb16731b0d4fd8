"""The ``selfsignedtls:`` and ``reloadingtls:`` server endpoints, for any program that listens where strings say."""

from vllmsim.tls.parsers import TlsParser

selfsigned = TlsParser("selfsignedtls")
reloading = TlsParser("reloadingtls")
