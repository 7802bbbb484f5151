"""``bandwidth``: copies between host and card for a moment, timed, and what comes back compared with what went out.

Judged only against ``least_bytes_per_second``, which a site sets by what its servers reach: a PCIe generation says
nothing about a virtual machine or a riser. Not here: kernels, or links between cards.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from ullage_agent.probes.cuda import CardFault, Cuda
from ullage_agent.probes.verdict import Found, failed, passed, refused

BLOCK_BYTES: Final = 32 * 1024 * 1024  # our choice: a copy of milliseconds, far above the cost of a call
COPY_SECONDS: Final = 0.5  # our choice: some hundred blocks each way


def run(card: Mapping[str, str | None], *, least_bytes_per_second: float) -> Found:
    """Measure both ways and on the card. Raises ReadingError when nothing can be said of the card."""
    try:
        with Cuda(card) as cuda:
            return _measure(cuda, least_bytes_per_second)
    except CardFault as e:
        return failed(str(e), cuda_result=e.code)


def _measure(cuda: Cuda, least: float) -> Found:
    here, there = cuda.allocate(BLOCK_BYTES), cuda.allocate(BLOCK_BYTES)
    if here is None or there is None:
        return refused("no memory could be had on the card")
    host, back = ctypes.c_void_p(), ctypes.c_void_p()
    # page-locked memory, or the copy through a pageable buffer is what is measured
    cuda.call("cuMemAllocHost_v2", ctypes.byref(host), BLOCK_BYTES)
    cuda.call("cuMemAllocHost_v2", ctypes.byref(back), BLOCK_BYTES)
    sent = os.urandom(1 << 20) * (BLOCK_BYTES >> 20)
    ctypes.memmove(host, sent, BLOCK_BYTES)
    ctypes.memset(back, 0, BLOCK_BYTES)

    def timed(copy: Callable[[], None]) -> float:
        copies, began = 0, time.monotonic()
        while True:
            copy()
            copies += 1
            cuda.call("cuCtxSynchronize")
            seconds = time.monotonic() - began
            if seconds >= COPY_SECONDS:
                return copies * BLOCK_BYTES / seconds

    to_card = timed(lambda: cuda.call("cuMemcpyHtoD_v2", here, host, BLOCK_BYTES))
    on_card = timed(lambda: cuda.call("cuMemcpyDtoD_v2", there, here, BLOCK_BYTES))
    to_host = timed(lambda: cuda.call("cuMemcpyDtoH_v2", back, there, BLOCK_BYTES))
    same = ctypes.string_at(back, BLOCK_BYTES) == sent
    figures = {
        "to_card_bytes_per_second": round(to_card),
        "to_host_bytes_per_second": round(to_host),
        "on_card_bytes_per_second": round(on_card),
    }
    if not same:
        return failed("what came back is not what was sent", **figures)
    slowest = min(to_card, to_host)
    if slowest < least:
        return failed(
            f"{slowest / 1e9:.1f} GB/s between host and card, {least / 1e9:.1f} are wanted", **figures
        )
    judged = f"at least {least / 1e9:.1f}" if least else "not judged: least_bytes_per_second is not set"
    return passed(f"{to_card / 1e9:.1f} GB/s to the card, {to_host / 1e9:.1f} back ({judged})", **figures)
