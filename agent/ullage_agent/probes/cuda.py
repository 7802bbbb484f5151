"""One NVIDIA card through the CUDA driver API (libcuda.so.1) by ctypes: memory and copies, no compiler, no kernels.

Symbols and codes: the CUDA Driver API reference, modules Initialization, Device Management, Primary Context and
Memory Management. The names with ``_v2`` are what cuda.h maps the plain ones to. Used inside a probe's own process
alone, which sees this card and no other (CUDA_VISIBLE_DEVICES). Not here: what is written and compared.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from ullage_contract.errors import Broken, NotPermitted, NotPresent, NotSupported

LIBRARY: Final = "libcuda.so.1"
_NOT_THE_CARD: Final = {
    3: "the driver is shutting down",
    46: "the card is taken by another process (exclusive mode)",
    803: "driver and library are of different versions",
    804: "the library does not support this driver",
}
"""CUresult codes that say nothing about the card: DEINITIALIZED, DEVICE_UNAVAILABLE, SYSTEM_DRIVER_MISMATCH,
COMPAT_NOT_SUPPORTED_ON_DEVICE."""
OUT_OF_MEMORY: Final = 2

_SIGNATURES: Final[Mapping[str, tuple[object, ...]]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDriverGetVersion": (ctypes.POINTER(ctypes.c_int),),
    "cuDeviceGetByPCIBusId": (ctypes.POINTER(ctypes.c_int), ctypes.c_char_p),
    "cuDeviceGetUuid": (ctypes.c_char * 16, ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(ctypes.c_void_p), ctypes.c_int),
    "cuDevicePrimaryCtxRelease_v2": (ctypes.c_int,),
    "cuCtxSetCurrent": (ctypes.c_void_p,),
    "cuCtxSynchronize": (),
    "cuMemGetInfo_v2": (ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)),
    "cuMemAlloc_v2": (ctypes.POINTER(ctypes.c_uint64), ctypes.c_size_t),
    "cuMemFree_v2": (ctypes.c_uint64,),
    "cuMemAllocHost_v2": (ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t),
    "cuMemFreeHost": (ctypes.c_void_p,),
    "cuMemsetD32_v2": (ctypes.c_uint64, ctypes.c_uint, ctypes.c_size_t),
    "cuMemcpyDtoH_v2": (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t),
    "cuMemcpyHtoD_v2": (ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t),
    "cuMemcpyDtoD_v2": (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t),
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}


class CardFault(Exception):
    """A call on the card failed in a way that speaks of the card. code: the CUresult."""

    def __init__(self, function: str, code: int, name: str) -> None:
        super().__init__(f"{function} answered {code} ({name})")
        self.code = code


class Cuda:
    """The card at ``card["pci"]``, with a context on it. Use as a context manager.

    Raises NotPresent, NotSupported or NotPermitted when nothing can be said of the card, Broken when another card is
    in its place, CardFault when the card fails.
    """

    def __init__(self, card: Mapping[str, str | None], library: str = LIBRARY) -> None:
        pci, uuid = card.get("pci"), card.get("uuid")
        if not pci:
            raise NotPresent("the card's PCI address is not known: it cannot be told from its neighbours")
        if uuid and uuid.startswith("GPU-"):
            os.environ["CUDA_VISIBLE_DEVICES"] = uuid
        try:
            self._library = ctypes.CDLL(library)
        except OSError as e:
            raise NotPresent(f"{library} cannot be loaded: the maker's runtime is not here ({e})") from e
        for name, types in _SIGNATURES.items():
            try:
                getattr(self._library, name).argtypes = [
                    ctypes.POINTER(t) if isinstance(t, type) and issubclass(t, ctypes.Array) else t
                    for t in types
                ]
            except AttributeError as e:
                raise NotSupported(f"{library} has no {name}: its release is too old") from e
        self._device = ctypes.c_int()
        self._context = ctypes.c_void_p()
        self._allocated: list[int] = []
        self.call("cuInit", 0)
        self.call("cuDeviceGetByPCIBusId", ctypes.byref(self._device), pci.encode())
        self._check_identity(uuid)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.call("cuCtxSetCurrent", self._context)

    def __enter__(self) -> Cuda:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pointer in self._allocated:
            self._library.cuMemFree_v2(pointer)
        self._library.cuDevicePrimaryCtxRelease_v2(self._device)

    def call(self, function: str, *arguments: object) -> None:
        """One call. Raises CardFault, or NotPermitted where the answer says nothing about the card."""
        code = getattr(self._library, function)(*arguments)
        if code == 0:
            return
        if code in _NOT_THE_CARD:
            raise NotPermitted(f"{function}: {_NOT_THE_CARD[code]}")
        raise CardFault(function, code, self._name(code))

    def free_bytes(self) -> int:
        """Device memory nobody holds."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int | None:
        """A device pointer to ``size`` bytes, freed at the end; None when there is no such piece."""
        pointer = ctypes.c_uint64()
        try:
            self.call("cuMemAlloc_v2", ctypes.byref(pointer), size)
        except CardFault as e:
            if e.code == OUT_OF_MEMORY:
                return None
            raise
        self._allocated.append(pointer.value)
        return pointer.value

    def driver_version(self) -> int:
        """As cuDriverGetVersion gives it: 1000 x major + 10 x minor."""
        version = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return version.value

    def _check_identity(self, uuid: str | None) -> None:
        """The device at this address is the card that was asked for. Simulated ids are nobody's."""
        raw = (ctypes.c_char * 16)()
        self.call("cuDeviceGetUuid", raw, self._device)
        text = raw.raw.hex()
        found = f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        if uuid and uuid.startswith("GPU-") and uuid.lower() != found.lower():
            raise Broken(f"another card is at this address: {found}")

    def _name(self, code: int) -> str:
        name = ctypes.c_char_p()
        if self._library.cuGetErrorName(code, ctypes.byref(name)) == 0 and name.value:
            return name.value.decode("ascii", "replace")
        return "unknown"
