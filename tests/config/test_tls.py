"""Options of TLS."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.listing import print_config
from vllmsim.config.loading import ConfigurationError

PAIR = "--ssl-certfile c --ssl-keyfile k"
BROKEN = {
    f"--listen tcp:1 {PAIR}": "listen (--listen): says all about the endpoint",
    "--listen tcp:1 --self-signed-certs": "it goes with no host, uds or certificate",
    "--listen unix:/run/{name}": "listen (--listen): {name} is not known; there are {port} and {rank}",
    f"--uds /x {PAIR}": "uds (--uds): speaks no TLS",
    "--listen tcp:6553{rank} -dp 7": "listen (--listen): port must be a number of at most 65535, not '65536'",
    "--listen tcp:1\\ -dpm": "listen (--listen): a backslash must have a character behind it",
    "--uds /x --self-signed-certs": "uds (--uds): speaks no TLS",
    "--ssl-keyfile k": "ssl-keyfile (--ssl-keyfile): goes together with ssl-certfile",
    f"{PAIR} --self-signed-certs": "goes with neither ssl-certfile nor ssl-keyfile",
    f"{PAIR} --ssl-cert-reqs 2": "ssl-cert-reqs (--ssl-cert-reqs): needs ssl-ca-certs",
    "--self-signed-certs --ssl-cert-reqs 1": "needs ssl-ca-certs",
    f"{PAIR} --ssl-cert-reqs 3": "must be one of 0, 1, 2",
    "-dp 2 -dpm --self-signed-certs --self-signed-cert-file /c": "put {rank} in '/c'",
}
FINE = {
    "": "",
    PAIR: "",
    "--ssl-certfile both.pem": "",
    f"{PAIR} --ssl-ca-certs a --ssl-cert-reqs 2 --ssl-ciphers x --ssl-keyfile-password p --no-enable-ssl-refresh": "",
    "--self-signed-certs --self-signed-cert-file /c -dp 2": "",
    "--self-signed-certs --self-signed-cert-file /c/{rank} -dp 2 -dpm": "",
    "--self-signed-certs --self-signed-cert-file /c -dpm": "",
    "--listen unix:/run/{port}.{rank}.sock": "",
    "--listen tcp:{port}": "",
    "--listen tcp:6553{rank} -dp 6": "",
    "--listen reloadingtls:1:certKey=c --ssl-keyfile-password p": "",
    "--ssl-ciphers x --ssl-cert-reqs 1": "ssl-cert-reqs, ssl-ciphers have no effect without ssl-certfile or"
    " self-signed-certs.",
    "--self-signed-certs --ssl-keyfile-password p": "ssl-keyfile-password has no effect with self-signed-certs.",
    f"{PAIR} --self-signed-cert-file /c": "self-signed-cert-file has no effect without self-signed-certs.",
    f"{PAIR} --ssl-ca-certs a": "ssl-ca-certs has no effect while ssl-cert-reqs is 0: no client is asked for a"
    " certificate.",
}


class TlsTests(SynchronousTestCase):
    """What goes together."""

    def test_broken(self) -> None:
        """Each broken rule is reported with the option to blame."""
        for text, fault in BROKEN.items():
            error = self.assertRaises(ConfigurationError, load_words, text.split(), {})
            self.assertIn(fault, str(error))
            self.assertEqual(1, len(error.problems), error)

    def test_fine(self) -> None:
        """What has no effect is told, and nothing else."""
        for text, doubt in FINE.items():
            self.assertEqual([doubt] if doubt else [], load_words(text.split(), {}).doubts, text)

    def test_speaks(self) -> None:
        """A server speaks TLS when it has a certificate."""
        for text, speaks in {"": False, PAIR: True, "--self-signed-certs": True, "--ssl-ciphers x": False}.items():
            self.assertEqual(speaks, load_words(text.split(), {}).configuration.speaks_tls)

    def test_passphrase(self) -> None:
        """The passphrase may come from the environment, and is shown nowhere."""
        loaded = load_words(PAIR.split(), {"VLLMSIM_SSL_KEYFILE_PASSWORD": "hush-hush"})
        self.assertEqual("hush-hush", loaded.configuration.ssl_keyfile_password)
        self.assertIn("ssl-keyfile-password", print_config(loaded))
        self.assertNotIn("hush-hush", print_config(loaded))
