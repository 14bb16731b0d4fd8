"""A small Debian of its own in a folder, made from the mirror that this machine uses.

Every command in it runs in a mount namespace that ends with it: in the folder itself nothing is ever mounted, and it
can be removed.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

_MOUNT: Final = """
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
for each in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$each"; done
chmod 1777 "$root/tmp"
for each in null zero full random urandom; do
    touch "$root/dev/$each"
    mount --bind "/dev/$each" "$root/dev/$each"
done
"""
_ENTER: Final = 'exec chroot "$root" "$@"\n'
_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
_PATIENCE: Final = 240.0


def lacking(*tools: str) -> str:
    """Say what keeps a chroot from being made here; nothing if it can be."""
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        return f"needs {', '.join(missing)}"
    if os.geteuid():
        return "needs root"
    probe = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt && mount -t proc proc /mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "needs the right to mount"
    return "" if _sources() else "needs a Debian, and its lists: apt-get update"


def _sources() -> list[str]:
    """Find the lines that name this machine's mirror of the release that it has."""
    facts = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text("utf-8").splitlines() if "=" in line)
    release = facts.get("VERSION_CODENAME", "").strip('"')
    form = "$(CREATED_BY) $(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"
    said = subprocess.run(["apt-get", "indextargets", "--format", form], capture_output=True, text=True, check=False)
    wanted = ["Packages", "Debian", release, "main"]
    found = [line.split() for line in said.stdout.splitlines()]
    return sorted({f"deb {row[4]} {release} main" for row in found if row[:4] == wanted})


class Chroot:
    """A Debian with apt, in which a package lies in ``/root``.

    :param install: also install it, with all that it depends on.
    :param more: packages of Debian's to have there as well.
    """

    def __init__(self, package: Path, install: bool = True, more: Iterable[str] = ()) -> None:  # noqa: FBT002
        self._folder = Path(mkdtemp(prefix="vllmsim-debian-"))
        self.root = self._folder / "root"
        said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
        ways = [line for line in said.splitlines() if line.startswith(("Acquire::http", "Acquire::Retries"))]
        (self._folder / "apt.conf").write_text(
            "\n".join([*ways, 'Acquire::Languages "none";', 'APT::Install-Recommends "false";', ""]), "utf-8"
        )
        sources = _sources()
        command = [
            *("mmdebstrap", "--mode=root", "--variant=apt", "--quiet", "--format=directory"),
            *(f"--aptopt={self._folder / 'apt.conf'}", "--dpkgopt=force-unsafe-io"),
            f"--customize-hook=copy-in {package} /root",
            *([f'--customize-hook=chroot "$1" apt-get -y install /root/{package.name}'] if install else ()),
            *([f"--include={','.join(more)}"] if more else ()),
            *(sources[0].split()[2], str(self.root), *sources),
        ]
        try:
            self.log = self._do(command)
        except BaseException:
            self.remove()
            raise

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command in it.

        :return: all that it said.
        """
        return self._do(["unshare", "--mount", "sh", "-c", _MOUNT + _ENTER, "sh", str(self.root), *words], status)

    def confined(self, words: list[str], folders: list[str], user: int, variables: dict[str, str]) -> list[str]:
        """Find the command that runs another as systemd runs that of a service, as the same process.

        It can write to nothing but some folders, and its user has no rights.

        :param folders: those folders, below /run, /var/lib and /var/cache, which are empty and its own.
        :param variables: its whole environment.
        """
        script = f'{_MOUNT}mount -o remount,bind,ro "$root"\n'
        script += 'for each in var/lib var/cache; do mount -t tmpfs tmpfs "$root/$each"; done\n'
        script += "".join(f'install -d -m 700 -o {user} -g {user} "$root{each}"\n' for each in folders)
        # Sockets that are handed over are for this process.
        script += 'if [ -n "$LISTEN_FDS" ]; then export LISTEN_PID=$$; fi\n'
        drop = f"--reuid={user} --regid={user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
        settings = [f"{name}={value}" for name, value in variables.items()]
        enter = ["env", "-i", *settings, "unshare", "--mount", "sh", "-c", script + _ENTER, "sh", str(self.root)]
        return [*enter, "setpriv", *drop.split(), *words]

    def files(self) -> list[str]:
        """List what there is of the program, and of what apt and dpkg remember of it."""
        found = [path for path in self.root.rglob("*vllmsim*") if self.root / "root" not in path.parents]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def remove(self) -> None:
        """Remove the folder, in which nothing is mounted."""
        if str(self._folder) in Path("/proc/self/mountinfo").read_text("utf-8"):
            raise AssertionError(f"something is mounted in {self._folder}")
        subprocess.run(["rm", "-rf", "--one-file-system", str(self._folder)], check=True)

    def _do(self, command: list[str], status: int = 0) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if done.returncode != status:
            raise AssertionError(f"{command[0]} ended with status {done.returncode}:\n{done.stdout}")
        return done.stdout
