"""One ni_rsrc_mon that goes on printing, in the best form its release knows.

json2 has temperature and power, json1 has addresses, text every release has; a release that does not know a form
ends at once and the next is tried. (``-o json`` cannot be repeated: the tool refuses it with -n.)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from time import monotonic, sleep
from typing import Final

from ullage_agent.backend import DecodedCard
from ullage_agent.backends.netint.decode import decode
from ullage_agent.backends.toolstream import ToolStream
from ullage_contract.errors import BadInput, Broken

log = logging.getLogger(__name__)

_BLOCK_END: Final = "*" * 50  # printed before the first report and after each
_WAIT_SECONDS: Final = 1.0  # our choice: because a marked call has two
_MOST_INTERVALS: Final = 4.0  # our choice: because a report that is four intervals old is no reading of now


class Monitor:
    """One tool's newest report. forms: tried in order."""

    def __init__(self, tool: str, forms: Sequence[str], interval_seconds: int) -> None:
        self._tool = tool
        self._forms = list(forms)
        self._interval = max(1, interval_seconds)
        self._stream: ToolStream | None = None
        self._block: str | None = None
        self._no_wait_until = 0.0
        self._cards: Mapping[str, DecodedCard] = {}

    def cards(self) -> Mapping[str, DecodedCard]:
        """NVMe controller ("nvme0") -> card. Raises NotPresent, NotPermitted, Broken while there is no report."""
        block = self._newest()
        if block != self._block:
            self._cards = self._read(block)
            self._block = block
        return self._cards

    def _newest(self) -> str:
        """A report; waited for once in a while, not by every value of every card that wants it."""
        now = monotonic()
        until = now + _WAIT_SECONDS if now >= self._no_wait_until else now
        while True:
            if self._stream is None:
                self._stream = self._open()
            try:
                return self._stream.latest()
            except Broken:
                if self._stream.ended and self._block is None and len(self._forms) > 1:
                    log.info("%s does not know -o %s; -o %s is tried", self._tool, *self._forms[:2])
                    self.close()
                    self._forms.pop(0)
                elif monotonic() >= until:
                    self._no_wait_until = monotonic() + self._interval
                    raise
                else:
                    sleep(0.05)

    def close(self) -> None:
        """End the tool."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _open(self) -> ToolStream:
        return ToolStream(
            [self._tool, "-n", str(self._interval), "-o", self._forms[0]],
            block_end=_BLOCK_END,
            fresh_seconds=max(10.0, self._interval * _MOST_INTERVALS),
        )

    def _read(self, block: str) -> Mapping[str, DecodedCard]:
        try:
            decoded = decode(block)
        except BadInput as e:
            raise Broken(f"{self._tool}: no report yet ({e})") from e
        return {controller(str(card.extra.get("device", ""))): card for card in decoded.cards}


def controller(device: str) -> str:
    """``/dev/nvme0n1`` or ``/dev/nvme0`` as ``nvme0``."""
    name = device.rsplit("/", 1)[-1]
    digits = name.removeprefix("nvme").partition("n")[0]
    return f"nvme{digits}"
