# -*- test-case-name: tests.config.test_tls -*-
"""TLS: whose certificate the server has, and which clients it takes."""

from attrs import frozen

from vllmsim.config.kinds import Flag, Integer, Text
from vllmsim.config.option import option


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class TlsOptions:
    """TLS at the server's ports."""

    # fmt: off
    ssl_certfile: str = option("tls", Text(), "",
        "PEM file of the certificate, and behind it those between it and its authority; with it the server speaks TLS.")
    ssl_keyfile: str = option("tls", Text(), "",
        "PEM file of its private key; the same file if not given.")
    ssl_keyfile_password: str = option("tls", Text(), "",
        "Passphrase of the private key, if it has one.", environment="VLLMSIM_SSL_KEYFILE_PASSWORD", secret=True)
    enable_ssl_refresh: bool = option("tls", Flag(), True,
        "Read the files again when they change, for new connections; if not, SIGHUP alone does it. vLLM looks only when"
        " it is asked to.")
    ssl_ca_certs: str = option("tls", Text(), "",
        "PEM file of the authorities that clients' certificates must come from.")
    ssl_cert_reqs: int = option("tls", Integer(choices=(0, 1, 2)), 0,
        "Whether clients need a certificate: 0 no, 1 if they have one it must be right, 2 yes.")
    ssl_ciphers: str = option("tls", Text(), "",
        "Ciphers of TLS 1.2, in OpenSSL's words; if empty, those with forward secrecy and authentication.")
    self_signed_certs: bool = option("tls", Flag(), False,
        "Speak TLS with a certificate that is made at the start, for localhost, this machine's name, host and pod-ip.")
    self_signed_cert_file: str = option("tls", Text(), "",
        "File to write that certificate to, for clients that check it; the key stays in memory. Each rank that has a"
        " process has its own, and its number for {rank}.")
    # fmt: on

    @property
    def speaks_tls(self) -> bool:
        """Whether ports speak TLS."""
        return bool(self.ssl_certfile) or self.self_signed_certs
