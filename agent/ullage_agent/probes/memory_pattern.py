"""``memory``: patterns written into a part of the card's memory and read back, through the maker's runtime.

All zeros, all ones, both checkerboards, and every word its own number (which finds lines that alias). It finds bits
that do not hold what was just written where it looked; what only fails hot, under load or elsewhere it does not find.
"""

from __future__ import annotations

import ctypes
import time
from array import array
from collections.abc import Iterator, Mapping
from typing import Final

from ullage_agent.probes.cuda import CardFault, Cuda
from ullage_agent.probes.verdict import Found, failed, passed, refused

CHUNK_BYTES: Final = 32 * 1024 * 1024  # our choice: two of them fit into the agent's own memory limit
LEAST_BYTES: Final = 1024 * 1024
FREE_SHARE: Final = 0.9  # our choice: the driver itself needs some of what is free
PATTERNS: Final = (0x00000000, 0xFFFFFFFF, 0xAAAAAAAA, 0x55555555)
_WORD: Final = 4


def run(card: Mapping[str, str | None], *, most_bytes: int) -> Found:
    """Test at most ``most_bytes``. Raises ReadingError when nothing can be said of the card."""
    began = time.monotonic()
    try:
        with Cuda(card) as cuda:
            free = cuda.free_bytes()
            chunks = list(_chunks(cuda, min(most_bytes, int(free * FREE_SHARE))))
            tested = sum(size for _, size in chunks)
            if tested < LEAST_BYTES:
                return refused(f"no memory could be had: {free} bytes are free", free_bytes=free)
            wrong = _test(cuda, chunks)
    except CardFault as e:
        return failed(str(e), cuda_result=e.code)
    figures = {
        "tested_bytes": tested,
        "patterns": len(PATTERNS) + 1,
        "test_seconds": round(time.monotonic() - began, 3),
    }
    if wrong is not None:
        words, offset, bits = wrong
        return failed(
            f"{words} words read back wrong, the first {offset} bytes in, bits {bits:#010x}",
            wrong_words=words,
            first_offset_bytes=offset,
            wrong_bits=bits,
            **figures,
        )
    return passed(f"{tested} bytes held every pattern", **figures)


def _chunks(cuda: Cuda, most_bytes: int) -> Iterator[tuple[int, int]]:
    """(device pointer, bytes) until ``most_bytes`` or nothing more can be had."""
    left = most_bytes // _WORD * _WORD
    while left >= LEAST_BYTES:
        size = min(left, CHUNK_BYTES)
        pointer = cuda.allocate(size)
        if pointer is None:
            return
        yield pointer, size
        left -= size


def _test(cuda: Cuda, chunks: list[tuple[int, int]]) -> tuple[int, int, int] | None:
    """(wrong words, offset of the first, its wrong bits) of the first pattern that did not hold; None when all did."""
    largest = max(size for _, size in chunks)
    read = (ctypes.c_char * largest)()
    for pattern in PATTERNS:
        want = array("I", [pattern]) * (largest // _WORD)
        for pointer, size in chunks:
            cuda.call("cuMemsetD32_v2", pointer, pattern, size // _WORD)
        cuda.call("cuCtxSynchronize")
        if wrong := _compare(cuda, chunks, read, [want] * len(chunks), [0] * len(chunks)):
            return wrong
    # every chunk begins one word later, so that the same word of two chunks differs
    numbers = array("I", range(1, largest // _WORD + len(chunks) + 1))
    address = numbers.buffer_info()[0]
    for number, (pointer, size) in enumerate(chunks):
        cuda.call("cuMemcpyHtoD_v2", pointer, ctypes.c_void_p(address + number * _WORD), size)
    cuda.call("cuCtxSynchronize")
    return _compare(cuda, chunks, read, [numbers] * len(chunks), list(range(len(chunks))))


def _compare(
    cuda: Cuda,
    chunks: list[tuple[int, int]],
    read: ctypes.Array[ctypes.c_char],
    wanted: list[array[int]],
    begins: list[int],
) -> tuple[int, int, int] | None:
    memcmp = ctypes.CDLL(None).memcmp
    memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    before = 0
    words, first, bits = 0, 0, 0
    for (pointer, size), want, begin in zip(chunks, wanted, begins, strict=True):
        cuda.call("cuMemcpyDtoH_v2", read, pointer, size)
        if memcmp(read, want.buffer_info()[0] + begin * _WORD, size) != 0:
            got = array("I")
            got.frombytes(memoryview(read)[:size])
            for i, word in enumerate(got):
                if word != want[begin + i]:
                    if not words:
                        first, bits = before + i * _WORD, word ^ want[begin + i]
                    words += 1
        before += size
    return (words, first, bits) if words else None
