"""Host storage: block devices, NFS, Lustre, GPFS/CPFS, FUSE mounts and the fullest file system.

Whole devices are counted, without what is built on them (device mapper, md, loop) and without their
partitions: those repeat the same bytes. A mount that is there twice (bind mounts, one volume in many
pods) is one file system and counted once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from ullage_agent.sources.growth import Growth
from ullage_agent.sources.kept_file import KeptFile, names_in, text_of
from ullage_agent.sources.mmpmon import Mmpmon
from ullage_contract.sample import Value

SECTOR_BYTES: Final = 512
"""/proc/diskstats counts 512-byte sectors whatever the device's own are (Documentation/admin-guide/iostats.rst)."""

_STACKED: Final = re.compile(r"^(loop|ram|zram|dm-|md\d|sr\d|fd\d|drbd|bcache|nbd)")
LOCAL_TYPES: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs"})
"""Asked how full they are. Never a network file system: asking a dead server hangs."""

_DISK: Final = ("disk_read_bytes", "disk_written_bytes", "disk_busy_seconds")
_NFS: Final = ("nfs_read_bytes", "nfs_written_bytes", "nfs_retransmits", "nfs_wait_seconds")
_LUSTRE: Final = ("lustre_read_bytes", "lustre_written_bytes")
_GPFS: Final = ("gpfs_read_bytes", "gpfs_written_bytes")


class Storage:
    """Reads /proc and /sys; ``root`` is where the host's own root is (mount points are below it).

    Local file systems are asked by ``statvfs`` (path -> os.statvfs_result), GPFS by ``mmpmon``.
    """

    def __init__(
        self,
        sysfs: Path,
        proc: Path,
        root: Path,
        *,
        mmpmon: Mmpmon | None = None,
        statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._sysfs = sysfs
        self._proc = proc
        self._root = root
        self._statvfs = statvfs
        self._mmpmon = mmpmon
        self._disks = KeptFile(str(proc / "diskstats"), size=1 << 18)
        self._growth = Growth()
        self._whole: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """Which block devices are whole and real."""
        root = self._sysfs / "block"
        self._whole = frozenset(
            name
            for name in names_in(root)
            # an NVMe path below a multipath device is hidden, and its bytes are the device's
            if not _STACKED.match(name) and text_of(root / name / "hidden") != "1"
        )

    def fast(self) -> dict[str, Value]:
        """Block devices since the agent started."""
        for line in (self._disks.text() or "").splitlines():
            fields = line.split()
            if len(fields) < 14 or fields[2] not in self._whole:
                continue
            name = fields[2]
            self._growth.add("disk_read_bytes", name, int(fields[5]) * SECTOR_BYTES)
            self._growth.add("disk_written_bytes", name, int(fields[9]) * SECTOR_BYTES)
            self._growth.add("disk_busy_seconds", name, int(fields[12]) / 1000)
        return self._growth.values(*_DISK)

    def slow(self) -> dict[str, Value]:
        """Network file systems since the agent started, and what waits in FUSE now."""
        self._read_nfs()
        self._read_lustre()
        if self._mmpmon is not None:
            for file_system, (read, written) in self._mmpmon.read().items():
                self._growth.add("gpfs_read_bytes", file_system, read)
                self._growth.add("gpfs_written_bytes", file_system, written)
        values = self._growth.values(*_NFS, *_LUSTRE, *_GPFS)
        waiting = self._fuse_waiting()
        if waiting is not None:
            values["fuse_waiting"] = waiting
        return values

    def fullest(self) -> dict[str, Value]:
        """The free share of the fullest local file system, as df counts it. May hang on a dead disk."""
        ratios = []
        for point in _mount_points(self._mounts(), LOCAL_TYPES):
            try:
                found = self._statvfs(str(self._root / point.lstrip("/")))
            except OSError:
                continue
            used = found.f_blocks - found.f_bfree
            if used + found.f_bavail > 0:
                ratios.append(found.f_bavail / (used + found.f_bavail))
        return {"filesystem_free_ratio": min(ratios)} if ratios else {}

    def close(self) -> None:
        """Give the descriptors back."""
        self._disks.close()

    def _mounts(self) -> str:
        return self._of_init("mountinfo")

    def _of_init(self, name: str) -> str:
        """Process 1's view where it may be read (an agent in a container), else our own."""
        return text_of(self._proc / "1" / name) or text_of(self._proc / "self" / name)

    def _read_nfs(self) -> None:
        devices = {point: device for device, point, _, _ in _mountinfo(self._mounts())}
        seen = set()
        for export, point, lines in _nfs_mounts(self._of_init("mountstats")):
            part = f"{devices.get(point, point)} {export}"
            if part in seen:
                continue
            seen.add(part)
            self._add_nfs(part, lines)

    def _add_nfs(self, part: str, lines: Iterable[str]) -> None:
        retransmitted = waited_ms = operations = 0
        for line in lines:
            name, _, rest = line.strip().partition(":")
            fields = rest.split()
            if name == "bytes" and len(fields) >= 4:
                # fs/nfs/super.c nfs_show_stats: normal read, normal written, direct read, direct written, ...
                normal_read, normal_written, direct_read, direct_written = map(int, fields[:4])
                self._growth.add("nfs_read_bytes", part, normal_read + direct_read)
                self._growth.add("nfs_written_bytes", part, normal_written + direct_written)
            elif name.isupper() and len(fields) >= 8 and all(field.isdecimal() for field in fields[:8]):
                # net/sunrpc/stats.c: ops, transmissions, timeouts, sent, received, queue, round trip, execute ms
                retransmitted += max(0, int(fields[1]) - int(fields[0]))
                waited_ms += int(fields[7])
                operations += 1
        if operations:
            self._growth.add("nfs_retransmits", part, retransmitted)
            self._growth.add("nfs_wait_seconds", part, waited_ms / 1000)

    def _read_lustre(self) -> None:
        places = (
            self._proc / "fs/lustre/llite",
            self._sysfs / "fs/lustre/llite",
            self._sysfs / "kernel/debug/lustre/llite",
        )
        for place in places:
            found = False
            for name in names_in(place):
                for line in text_of(place / name / "stats").splitlines():
                    fields = line.split()
                    # lprocfs: name, samples, "samples", [bytes], min, max, sum
                    if (
                        len(fields) >= 7
                        and fields[0] in ("read_bytes", "write_bytes")
                        and fields[6].isdecimal()
                    ):
                        key = "lustre_read_bytes" if fields[0] == "read_bytes" else "lustre_written_bytes"
                        self._growth.add(key, name, int(fields[6]))
                        found = True
            if found:
                return  # newer versions show the same statistics in two places

    def _fuse_waiting(self) -> int | None:
        root = self._sysfs / "fs/fuse/connections"
        if not root.is_dir():
            return None
        waiting = 0
        for name in names_in(root):
            text = text_of(root / name / "waiting")
            if not text.isdecimal():
                return None  # not ours to read: an incomplete sum would be a lie
            waiting += int(text)
        return waiting


def _mountinfo(text: str) -> Iterator[tuple[str, str, str, str]]:
    """(major:minor, mount point, type, source) of every line of /proc/PID/mountinfo."""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, about = left.split(), right.split()
        if separator and len(fields) >= 5 and len(about) >= 2:
            yield fields[2], fields[4], about[0], about[1]


def _mount_points(text: str, types: frozenset[str]) -> list[str]:
    """One mount point a file system of these types, with the escapes of /proc undone."""
    points: dict[str, str] = {}
    for device, point, kind, _ in _mountinfo(text):
        if kind in types:
            points.setdefault(device, re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), point))
    return list(points.values())


def _nfs_mounts(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(export, mount point, lines) of every NFS mount in /proc/PID/mountstats."""
    current: tuple[str, str, list[str]] | None = None
    for line in text.splitlines():
        if line.startswith("device "):
            if current is not None:
                yield current
            words = line.split()
            current = None
            if len(words) >= 8 and words[2:4] == ["mounted", "on"] and words[7].startswith("nfs"):
                current = (words[1], words[4], [])
        elif current is not None:
            current[2].append(line)
    if current is not None:
        yield current
