"""Any recorded output of nvidia-smi, dcgmi nvlink or the kernel log, by what it looks like.

Here only the choice of format; each format is a file of its own.
"""

from __future__ import annotations

import re
from typing import Final

from ullage_agent.backend import Decoded
from ullage_agent.backends.nvidia.listings import CARD_LINE, decode_dcgmi_links, decode_listing
from ullage_agent.backends.nvidia.monitor import decode_monitor
from ullage_agent.backends.nvidia.query_csv import decode_csv
from ullage_agent.backends.nvidia.query_tree import decode_text, decode_xml
from ullage_agent.backends.nvidia.summary_table import decode_table, lost_cards
from ullage_contract.errors import BadInput

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_KERNEL: Final = re.compile(r"\bNVRM: |\bSXid \(PCI:")
_TABLE: Final = re.compile(
    r"^\s*\|\s*NVIDIA-SMI\b"
    # or rows without the head: people quote only the card that matters
    r"|^\s*\|\s*\d+\s+\S.*\|\s*[0-9A-Fa-f]{8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]\s+\S+\s*\|",
    re.MULTILINE,
)
_MONITOR: Final = re.compile(r"^#\s*(?:\S+\s+)*?gpu\b", re.MULTILINE | re.IGNORECASE)
_REFUSALS: Final = (
    "No devices were found",
    "NVIDIA-SMI has failed",
    "Failed to initialize NVML",
)


def decode(text: str) -> Decoded:
    """What the text says. Raises BadInput for a text of no format we know; never anything else.

    Colours, carriage returns and a byte order mark are taken off first.
    """
    clean = _ESCAPES.sub("", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    try:
        return _decode(clean)
    except BadInput:
        raise
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, RecursionError) as e:
        # a text damaged in a way we did not foresee is the text's fault to the caller
        raise BadInput(f"damaged nvidia-smi output ({type(e).__name__}: {e}): record it again") from e


def _decode(text: str) -> Decoded:
    if not text.strip():
        raise BadInput("an empty text")
    if "<nvidia_smi_log" in text:
        return decode_xml(text)
    if "NVSMI LOG" in text:
        return decode_text(text)
    if _TABLE.search(text):
        return decode_table(text)
    if _KERNEL.search(text):
        from ullage_agent.backends.nvidia.kernel import decode_kernel_log

        return decode_kernel_log(text)
    if _MONITOR.search(text):
        return decode_monitor(text)
    if "NvLink Link Status" in text or re.search(r"^\s*gpuId \d+:", text, re.MULTILINE):
        return decode_dcgmi_links(text)
    if any(CARD_LINE.match(line) for line in text.splitlines()):
        return decode_listing(text)
    for refusal in _REFUSALS:
        if refusal in text:
            line = next(line.strip() for line in text.splitlines() if refusal in line)
            return Decoded(maker="nvidia", tool="nvidia-smi", format="text", notes=(line,))
    if lost := lost_cards(text):
        return Decoded(
            maker="nvidia",
            tool="nvidia-smi",
            format="text",
            extra={"lost": lost},
            notes=tuple(f"nvidia-smi could not open a card: {entry}" for entry in lost),
        )
    return decode_csv(text)
