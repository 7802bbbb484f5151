"""NVML as we load it: opening, its error codes as our errors, and what the library says of itself.

pynvml's exceptions end here. Not here: what is asked of a card (nvml_card).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ullage_agent.backend import Call
from ullage_contract.errors import Broken, CardLost, NotPermitted, NotPresent, NotSupported, ReadingError

T = TypeVar("T")

# nvml.h nvmlReturn_t
SUCCESS: Final = 0
UNINITIALIZED: Final = 1
NO_PERMISSION: Final = 4
NOT_FOUND: Final = 6
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
UNKNOWN: Final = 999

_UNSUPPORTED: Final = frozenset({2, 3, 13, 24, 25, 26, 30})
"""INVALID_ARGUMENT (a field or struct this driver does not know), NOT_SUPPORTED, FUNCTION_NOT_FOUND,
FREQ_NOT_SUPPORTED, ARGUMENT_VERSION_MISMATCH, DEPRECATED, RESET_TYPE_NOT_SUPPORTED: asking again is useless."""

_ABSENT: Final = frozenset({9, 12})
"""DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND."""

_MESSAGES: Final = {
    9: "the NVIDIA driver is not loaded (modprobe nvidia)",
    12: "libnvidia-ml.so.1 is not found: install the driver, or run the container with the NVIDIA runtime",
    18: "the driver was updated and the loaded module is older: reload the module or reboot",
}


class ResetRequired(Broken):
    """GPU_REQUIRES_RESET: the card is there and refuses work until it is reset."""


def failure(code: int, function: str) -> ReadingError:
    """What NVML's return code means to us."""
    text = f"{function}: {_MESSAGES.get(code, f'NVML error {code}')}"
    if code in _UNSUPPORTED:
        return NotSupported(text)
    if code in _ABSENT:
        return NotPresent(text)
    if code == NO_PERMISSION:
        return NotPermitted(f"{text}: needs root or access to /dev/nvidia*")
    if code == GPU_IS_LOST:
        return CardLost(f"{function}: the GPU is lost")
    if code == RESET_REQUIRED:
        return ResetRequired(f"{function}: the GPU requires a reset")
    return Broken(text)


class Library:
    """pynvml, opened lazily so that the first call that could hang is a watched one.

    nvml: the module, for its constants, structures and functions.
    generation: grows with every opening; handles of an earlier one mean nothing.
    """

    def __init__(self) -> None:
        import pynvml

        self.nvml: Any = pynvml
        self._open = False
        self.generation = 0
        self.driver_version: str | None = None
        self.cuda_version: str | None = None

    @property
    def driver_major(self) -> int:
        """590 of 590.48.01; 0 when the driver does not say."""
        head = (self.driver_version or "0").split(".")[0]
        return int(head) if head.isdecimal() else 0

    def open(self, call: Call) -> None:
        """nvmlInit, once. Raises NotPresent, NotPermitted or Broken saying what to do."""
        if self._open:
            return
        self.ask(call, "", "nvmlInitWithFlags", self.nvml.nvmlInit)
        self._open = True
        self.generation += 1
        self.driver_version = _text(self.quiet(call, "nvmlSystemGetDriverVersion"))
        cuda = self.quiet(call, "nvmlSystemGetCudaDriverVersion_v2")
        # 13010 is 13.1 (nvml.h NVML_CUDA_DRIVER_VERSION_MAJOR)
        self.cuda_version = f"{cuda // 1000}.{cuda % 1000 // 10}" if isinstance(cuda, int) else None

    def ask(self, call: Call, card: str, function: str, run: Callable[[], T]) -> T:
        """``run()`` under the parent's watch. Raises ReadingError, never pynvml's own."""
        try:
            return call(card, function, run)
        except self.nvml.NVMLError as e:
            code = int(e.value)
            if code == UNINITIALIZED:
                self._open = False
            raise failure(code, function) from e
        except (UnicodeDecodeError, ValueError, TypeError) as e:
            # text that is none, or a call this pynvml makes differently: the card's answer is unusable
            raise Broken(f"{function}: {e}") from e

    def quiet(self, call: Call, function: str) -> Any:
        """The answer of a function of the library itself, or None."""
        try:
            return self.ask(call, "", function, getattr(self.nvml, function))
        except ReadingError:
            return None

    def close(self) -> None:
        """nvmlShutdown. Never raises."""
        if self._open:
            self._open = False
            try:
                self.nvml.nvmlShutdown()
            except self.nvml.NVMLError:
                pass


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isprintable() and value else None
