"""The certificate in use, and the next one."""

import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import DAY, Authority, Pair
from vllmsim.tls.certificates import Certificates
from vllmsim.tls.errors import TlsError
from vllmsim.tls.settings import FileSource, Manner, SelfSigned, Source


class CertificatesTests(SynchronousTestCase):
    """Files that change, and time that passes."""

    def setUp(self) -> None:
        """Have a certificate in files."""
        self.clock = Clock()
        self.folder = Path(mkdtemp())
        self.authority = Authority()
        self.first = self.authority.issue("first")
        self.paths = self.first.write(self.folder)
        self.now = time.time()

    def make(self, source: Source | None = None, **more: Any) -> Certificates:
        """Make them of a source: of the files unless said otherwise."""
        certificates = Certificates(
            source or FileSource(*self.paths),
            Manner(),
            self.clock,
            lambda: self.now + self.clock.seconds(),
            maybeDeferred,
            **more,
        )
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))
        return certificates

    def started(self, source: Source | None = None) -> Certificates:
        """Make them, and listen with them to the end of the test."""
        certificates = self.make(source)
        certificates.start()
        self.addCleanup(certificates.stop)
        return certificates

    def replace(self, pair: Pair, *files: int) -> None:
        """Put another certificate, or key, or both in the place of the first."""
        for number in files or (0, 1):
            new = self.folder / "new"
            new.write_bytes((pair.certificate_pem, pair.key_pem)[number])
            new.replace(self.paths[number])

    def looks(self, count: int = 2) -> list[str]:
        """Let it look at the files.

        :return: what it said.
        """
        with capturedLogs() as events:
            self.clock.pump([1.0] * count)
        return [event["log_format"].format(**event) for event in events]

    def test_replaced(self) -> None:
        """A new certificate is used when it has stayed the same for a second; the log says which it is."""
        certificates = self.started()
        before = certificates.context
        second = self.authority.issue("second")
        self.replace(second)
        self.assertEqual([], self.looks(1))
        self.assertIs(before, certificates.context)
        [said] = self.looks(1)
        self.assertIn("TLS files have changed: new connections have CN=second for localhost, 127.0.0.1", said)
        self.assertEqual(second.certificate, certificates.identity.certificate)
        self.assertIsNot(before, certificates.context)
        self.assertEqual([], self.looks(5))

    def test_halves(self) -> None:
        """A certificate that is replaced before its key is waited with, in one line; the old one stays meanwhile."""
        certificates = self.started()
        second = self.authority.issue("second")
        self.replace(second, 0)
        [said] = self.looks(9)
        self.assertRegex(said, "^TLS files have changed: the private key in .* is not that .*; the certificate in use")
        self.assertEqual(self.first.certificate, certificates.identity.certificate)
        self.replace(second, 1)
        self.assertIn("CN=second", self.looks()[0])

    def test_half_written(self) -> None:
        """A file that is cut off, or gone for a while, changes nothing before it is whole."""
        certificates = self.started()
        Path(self.paths[0]).write_bytes(self.first.certificate_pem[:99])
        self.assertIn("cannot be understood; the certificate in use stays", self.looks()[0])
        Path(self.paths[0]).unlink()
        self.assertIn("cannot read the certificate", self.looks()[0])
        Path(self.paths[0]).write_bytes(self.first.certificate_pem)
        self.assertEqual(["TLS files have changed: the certificate is the same."], self.looks())
        self.assertEqual(self.first.certificate, certificates.identity.certificate)

    def test_links(self) -> None:
        """Secrets of Kubernetes change by a link to another folder, while their own links stay as they are."""
        for number in (1, 2):
            (self.folder / f"..{number}").mkdir()
            self.authority.issue(f"n{number}").write(self.folder / f"..{number}", "tls")
        data = self.folder / "..data"
        data.symlink_to("..1")
        paths = [self.folder / name for name in ("tls.pem", "tls.key")]
        for path in paths:
            path.symlink_to(f"..data/{path.name}")
        certificates = self.started(FileSource(str(paths[0]), str(paths[1])))
        (self.folder / "..data_tmp").symlink_to("..2")
        (self.folder / "..data_tmp").replace(data)
        self.assertIn("CN=n2", self.looks()[0])
        self.assertIn("CN=n2", certificates.identity.text)

    def test_unwatched(self) -> None:
        """Files that are not to be watched, or can be read once alone, are read again when someone asks."""
        certificates = self.started(FileSource(*self.paths, watched=False))
        self.replace(self.authority.issue("second"))
        self.assertEqual([], self.looks(9))
        with capturedLogs() as events:
            self.successResultOf(certificates.reload("SIGHUP"))
        self.assertIn("CN=second", certificates.identity.text)
        self.assertEqual("SIGHUP", events[0]["who"])

    def test_reload(self) -> None:
        """Who asks is told in the log if nothing has changed, or nothing can be used."""
        certificates = self.started()
        with capturedLogs() as events:
            self.successResultOf(certificates.reload("SIGHUP"))
            Path(self.paths[1]).unlink()
            self.successResultOf(certificates.reload("SIGHUP"))
        self.assertEqual("SIGHUP: the certificate is the same.", events[0]["log_format"].format(**events[0]))
        self.assertEqual([LogLevel.info, LogLevel.warn], [event["log_level"] for event in events])
        self.assertIn("private key", str(events[1]["fault"]))

    def test_expired(self) -> None:
        """One that has expired is not used from the start, nor in the place of one that has not."""
        certificates = self.started()
        late = self.authority.issue(begins=self.now - 2 * DAY, ends=self.now - DAY)
        self.replace(late)
        [said] = self.looks()
        self.assertIn(f"the certificate in {self.paths[0]!r} has expired: it was valid until 20", said)
        self.assertEqual(self.first.certificate, certificates.identity.certificate)
        error = self.assertRaises(TlsError, self.make)
        self.assertIn("has expired: it was valid until", str(error))

    def test_ends(self) -> None:
        """The log warns two weeks before a certificate ends, each day, and says when it has; connections are served."""
        self.replace(self.authority.issue(begins=self.now - 100 * DAY, ends=self.now + 15 * DAY))
        certificates = self.started()
        levels = []
        for _ in range(18):
            with capturedLogs() as events:
                self.clock.advance(DAY)
            levels += [event["log_level"].name for event in events]
        self.assertEqual(["warn"] * 14 + ["error"] * 4, levels)
        self.replace(self.authority.issue("second"))
        self.looks()
        self.assertIn("CN=second", certificates.identity.text)
        self.assertEqual([], self.looks())

    def test_short_lives(self) -> None:
        """A certificate of a day is not warned about before its last fifth."""
        self.replace(self.authority.issue(begins=self.now, ends=self.now + DAY))
        self.started()
        self.clock.advance(0.7 * DAY)
        self.assertEqual([], self.looks(2))
        self.clock.advance(0.05 * DAY)
        with capturedLogs() as events:
            self.clock.advance(0.1 * DAY)
        self.assertEqual([LogLevel.warn], [event["log_level"] for event in events])

    def test_early(self) -> None:
        """One that is not valid yet is used, with a warning: it will be."""
        self.replace(self.authority.issue(begins=self.now + DAY))
        with capturedLogs() as events:
            self.started()
        self.assertIn("is not valid yet", events[1]["doubt"])

    def test_users(self) -> None:
        """Files are looked at while someone listens; the certificate is named once, however many do."""
        certificates = self.make()
        self.assertEqual([], self.clock.getDelayedCalls())
        with capturedLogs() as events:
            certificates.start()
            certificates.start()
        [event] = events
        self.assertIn("CN=first", event["certificate"])
        certificates.stop()
        self.assertEqual(1, len(self.clock.getDelayedCalls()))
        certificates.stop()

    def test_stopped_while_reading(self) -> None:
        """Who stops listening while files are looked at is not told more of them."""
        waiting: list[Deferred[Any]] = []

        def later(*_: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        source = FileSource(*self.paths)
        certificates = Certificates(source, Manner(), self.clock, lambda: self.now, later)
        certificates.start()
        self.clock.advance(1)
        certificates.stop()
        with capturedLogs() as events:
            waiting[0].callback(())
        self.assertEqual([], events)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_self_signed(self) -> None:
        """One that is made is written for clients, whole, and only if they are to have it; its key is not."""
        path = self.folder / "shown.pem"
        path.write_text("old", "utf-8")
        certificates = self.make(SelfSigned(("a.example",), str(path)))
        certificates.publish()
        self.assertEqual(certificates.identity.pem, path.read_bytes())
        self.assertEqual(0o644, path.stat().st_mode & 0o777)
        self.make(SelfSigned()).publish()
        self.make().publish()
        self.assertEqual({"server.pem", "server.key", "shown.pem"}, {each.name for each in self.folder.iterdir()})
        self.assertRaises(OSError, self.make(SelfSigned((), "/no/such/file")).publish)
        folder = self.folder / "folder"
        folder.mkdir()
        self.assertRaises(OSError, self.make(SelfSigned((), str(folder))).publish)
        self.assertEqual(4, len(list(self.folder.iterdir())))
        self.successResultOf(certificates.reload("SIGHUP"))

    def test_unusual(self) -> None:
        """What OpenSSL does not take is an error of one line."""
        for manner in (Manner("no such cipher"), Manner("\0")):
            error = self.assertRaises(
                TlsError, Certificates, FileSource(*self.paths), manner, self.clock, time.time, maybeDeferred
            )
            self.assertIn("no cipher of TLS 1.2 is called", str(error))
