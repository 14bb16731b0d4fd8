# -*- test-case-name: tests.web.http2.test_protocol -*-
"""h2, as connections here use it."""

from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from vllmsim.web.doorway import PREFACE

STREAMS: Final = 10_000
"""How many streams a client may have open at once."""
LARGEST_FRAME: Final = 1 << 16
"""How long a frame of a client's may be."""
TABLE: Final = 4096
"""How many bytes of headers that were sent are remembered at most, so that they need not be sent again."""
FIRST_WINDOW: Final = 65_535
"""How many bytes there is room for in a connection, and in a stream, before anybody has said anything else."""
_STREAM_WINDOW: Final = 1 << 20
_WINDOW: Final = 1 << 24
_MOST_CLOSED: Final = 4096
_SELDOM: Final = 64


class _Protocol(H2Connection):
    """The server's side, which refuses no stream for their number: that would be the end of the connection."""

    MAX_CLOSED_STREAMS = _MOST_CLOSED
    _asked = 0

    @property
    def open_inbound_streams(self) -> int:
        """The number that is held against the limit. To count them also forgets those that are closed."""
        self._asked += 1
        if self._asked > len(self.streams) // 2 + _SELDOM:
            self._asked = 0
            super().open_inbound_streams  # noqa: B018 - it is asked for what it does
        return 0


def speak(head_bytes: int) -> H2Connection:
    """Begin a server's side of a connection, whose preface is read elsewhere.

    :param head_bytes: the largest head of a request, as HTTP/2 counts: 32 for each field beside its bytes.
    """
    h2 = _Protocol(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            # What is wrong with a head is the end of its stream alone, and so is found elsewhere.
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    values: dict[Any, int] = {
        SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
        SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
        SettingCodes.MAX_FRAME_SIZE: LARGEST_FRAME,
        SettingCodes.MAX_HEADER_LIST_SIZE: head_bytes,
        SettingCodes.HEADER_TABLE_SIZE: TABLE,
        SettingCodes.ENABLE_PUSH: 0,
    }
    # Initial values hold at once; others only when the client has agreed, which is too late for a burst.
    h2.local_settings = Settings(client=False, initial_values=values)
    h2.max_inbound_frame_size = LARGEST_FRAME
    h2.decoder.max_header_list_size = head_bytes
    h2.receive_data(PREFACE)
    h2.initiate_connection()
    h2.increment_flow_control_window(_WINDOW - FIRST_WINDOW)
    return h2
