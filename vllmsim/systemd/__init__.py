"""Being a service of systemd's: it is told how the daemon is, and may have opened the ports."""

from typing import Final

VARIABLES: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
)
"""What systemd says to a process, and only to that one."""
