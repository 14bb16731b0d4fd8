"""The Debian package on a machine that systemd has booted, as far as a container is one.

It takes some minutes and what a machine for tests rarely has, and therefore VLLMSIM_BOOT=1.
"""

import os
import re
import time
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.debian.chroot import Chroot, lacking
from tests.debian.machine import Machine
from tests.integration.daemon import ROOT
from tests.integration.test_debian import TOOLS, build

REASON = "" if os.environ.get("VLLMSIM_BOOT") else "takes VLLMSIM_BOOT=1"
REASON = REASON or lacking(*TOOLS, "systemd-nspawn", "nsenter")
TRANSCRIPT = ROOT / "docs" / "debian-newcomer.txt"


def fits(expected: str, said: str) -> bool:
    """Compare what was said with a page on which ... stands for anything: in a line, or alone for some lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected.strip().splitlines()
    )
    return bool(re.fullmatch(pattern, f"{said.strip()}\n" if said.strip() else ""))


@skipIf(REASON, REASON)
class BootTests(SynchronousTestCase):
    """A machine that has booted, on which the package is not installed yet."""

    machine: Machine

    @classmethod
    def setUpClass(cls) -> None:
        """Boot."""
        chroot = Chroot(build(), install=False, more=("systemd-sysv", "dbus", "python3", "curl"))
        cls.addClassCleanup(chroot.remove)
        cls.machine = Machine(chroot)
        cls.addClassCleanup(cls.machine.stop)
        cls.install()

    @classmethod
    def install(cls) -> None:
        """Do what a newcomer does, and see the same."""
        lines = re.split(r"(?m)^# ", TRANSCRIPT.read_text("utf-8"))[1:]
        for entry in lines:
            line, _, expected = entry.partition("\n")
            said = cls.machine.run(line)
            # A reload is not waited for.
            time.sleep(0.5)
            if not fits(expected, said):
                raise AssertionError(f"# {line}\n{said}")

    def write(self, name: str, text: str) -> None:
        """Write a file of the machine."""
        self.machine.run(f"mkdir -p $(dirname {name}); cat > {name} <<'END'\n{text}\nEND")

    def test_confined(self) -> None:
        """The service runs without rights of root's, as a user that is there as long as it is."""
        said = self.machine.run("cat /proc/$(systemctl show -p MainPID --value vllmsim)/status")
        self.assertRegex(said, r"Uid:\s+6[1-5]\d{3}\s")
        self.assertRegex(said, r"CapBnd:\s+0{16}\n")
        self.assertRegex(said, r"Seccomp:\s+2\n")

    def test_metrics(self) -> None:
        """It may look at nothing but itself, and tells what it takes."""
        self.assertIn("\nprocess_start_time_seconds ", self.machine.run("curl -s localhost:8000/metrics"))

    def test_instance(self) -> None:
        """An instance serves ranks in processes, with real tokens, KV events and templates of requests."""
        self.write(
            "/etc/vllmsim/two.yaml",
            "port: 8100\ndata-parallel-size: 2\ndata-parallel-processes: true\ntokenizer: builtin\n"
            "trust-request-chat-template: true\nenable-kvcache: true\nzmq-endpoint: tcp://*:5557",
        )
        self.assertEqual("", self.machine.run("systemctl start vllmsim@two"))
        body = (
            '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":5,"chat_template":"{{ messages | length }}"}'
        )
        for port in (8100, 8101):
            said = self.machine.run(
                f"curl -s localhost:{port}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
            )
            self.assertIn('"prompt_tokens":1,', said)
        self.machine.run("systemctl stop vllmsim@two")
        self.assertIn("Result=success", self.machine.run("systemctl show -p Result vllmsim@two"))

    def test_socket(self) -> None:
        """With the socket unit nobody is refused while the service starts, and while it is started again."""
        self.write("/etc/default/vllmsim", 'VLLMSIM_OPTS="--listen systemd:domain=INET6:name=http"')
        self.machine.run("systemctl stop vllmsim; systemctl start vllmsim.socket")
        ask = "curl -s -o /dev/null -w '%{http_code} ' localhost:8000/health"
        self.assertEqual("200 ", self.machine.run(ask))
        said = self.machine.run(f"(for i in $(seq 20); do {ask}; sleep 0.1; done) & systemctl restart vllmsim; wait")
        self.assertEqual("200 " * 20, said)
        self.write("/etc/default/vllmsim", "")
        self.machine.run("systemctl stop vllmsim.socket; systemctl restart vllmsim")

    def test_keys(self) -> None:
        """Files that only root may read are handed over."""
        self.write("/etc/vllmsim/keys", "sk-lab")
        self.machine.run("chmod 600 /etc/vllmsim/keys")
        drop_in = "/etc/systemd/system/vllmsim@keys.service.d/keys.conf"
        self.write(drop_in, "[Service]\nLoadCredential=api-keys:/etc/vllmsim/keys")
        self.write("/etc/vllmsim/keys.yaml", "port: 8200\napi-key-file: /run/credentials/vllmsim@keys.service/api-keys")
        self.assertEqual("", self.machine.run("systemctl daemon-reload; systemctl start vllmsim@keys"))
        ask = "curl -s -o /dev/null -w '%{http_code}' localhost:8200/v1/models"
        self.assertEqual("401", self.machine.run(ask))
        self.assertEqual("200", self.machine.run(f"{ask} -H 'Authorization: Bearer sk-lab'"))
        self.machine.run("systemctl stop vllmsim@keys")

    def test_wrong(self) -> None:
        """A file that is wrong changes nothing, and the status says so."""
        self.machine.run("cp /etc/vllmsim/sim.yaml /root; echo 'prot: 1' >> /etc/vllmsim/sim.yaml")
        self.machine.run("systemctl reload vllmsim; sleep 1")
        self.assertIn("the configuration was read again and refused", self.machine.run("systemctl status vllmsim"))
        said = self.machine.run("journalctl -u vllmsim -p err -o cat")
        self.assertIn("The configuration stays as it is: prot (/etc/vllmsim/sim.yaml line", said)
        self.machine.run("cp /root/sim.yaml /etc/vllmsim/sim.yaml; systemctl reload vllmsim")
