"""A network interface's driver statistics (``ethtool -S``) by one ioctl, without a process or netlink.

Constants and layouts: include/uapi/linux/ethtool.h and sockios.h. Needs no privilege; the interface
must be in this network namespace.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

SIOCETHTOOL: Final = 0x8946
ETHTOOL_GSTRINGS: Final = 0x1B
ETHTOOL_GSTATS: Final = 0x1D
ETHTOOL_GSSET_INFO: Final = 0x37
ETH_SS_STATS: Final = 1
ETH_GSTRING_LEN: Final = 32
_IFREQ: Final = struct.Struct(
    "16sP16x"
)  # struct ifreq: name, then a union of 24 bytes that begins with the pointer

SLACK: Final = 1024
"""our choice: because older kernels fill as many statistics as the driver has *now*, whatever room they were
given; queues added between asking and reading must land in memory of ours."""

MAX_STATISTICS: Final = 100_000  # our choice: because a count beyond any driver's is a wrong answer

Ioctl = Callable[[str, "array.array[int]"], None]
"""Makes one SIOCETHTOOL call for an interface with a buffer the kernel reads and fills. Raises OSError."""


class Socket:
    """The ioctl's door: any socket will do."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __call__(self, interface: str, buffer: array.array[int]) -> None:
        address, _ = buffer.buffer_info()
        fcntl.ioctl(self._socket.fileno(), SIOCETHTOOL, _IFREQ.pack(interface.encode(), address))

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


class Statistics:
    """One interface's statistics: names once, then values as often as wanted.

    Raises OSError from any method: ENODEV when the interface is not there (or in another namespace),
    EOPNOTSUPP when its driver has no statistics.
    """

    def __init__(self, interface: str, ioctl: Ioctl) -> None:
        self.interface = interface
        self._ioctl = ioctl
        self._count = -1
        self._buffer: array.array[int] = array.array("B")

    def names(self) -> list[str]:
        """The driver's statistics in its own order. Call again when ``changed`` says so."""
        count = self._ask_count()
        buffer = array.array("B", bytes(12 + (count + SLACK) * ETH_GSTRING_LEN))
        struct.pack_into("=III", buffer, 0, ETHTOOL_GSTRINGS, ETH_SS_STATS, count)
        self._ioctl(self.interface, buffer)
        raw = buffer.tobytes()
        self._count = count
        self._buffer = array.array("B", bytes(8 + (count + SLACK) * 8))
        return [
            raw[start : start + ETH_GSTRING_LEN].split(b"\0", 1)[0].decode("ascii", "replace").strip()
            for start in range(12, 12 + count * ETH_GSTRING_LEN, ETH_GSTRING_LEN)
        ]

    def changed(self) -> bool:
        """Whether the driver now has another number of statistics (queues were added): ask ``names`` anew."""
        return self._ask_count() != self._count

    def values(self, indexes: Sequence[int]) -> dict[int, int]:
        """The statistics at these indexes. Raises OSError(EAGAIN) when the list changed: ask ``names`` anew."""
        if self._count < 0 or self.changed():
            raise OSError(errno.EAGAIN, "the driver's list of statistics changed", self.interface)
        struct.pack_into("=II", self._buffer, 0, ETHTOOL_GSTATS, self._count)
        self._ioctl(self.interface, self._buffer)
        (count,) = struct.unpack_from("=I", self._buffer, 4)
        if count != self._count:
            raise OSError(errno.EAGAIN, "the driver's list of statistics changed", self.interface)
        read = struct.Struct("=Q").unpack_from
        return {index: read(self._buffer, 8 + 8 * index)[0] for index in indexes}

    def _ask_count(self) -> int:
        buffer = array.array("B", bytes(16 + 4))
        struct.pack_into("=IIQ", buffer, 0, ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS)
        self._ioctl(self.interface, buffer)
        _, _, mask, count = struct.unpack_from("=IIQI", buffer, 0)
        if not mask:
            raise OSError(errno.EOPNOTSUPP, "the driver has no statistics", self.interface)
        if count > MAX_STATISTICS:
            raise OSError(errno.EPROTO, f"{count} statistics are no believable number", self.interface)
        return int(count)
