"""GPM: how busy the parts of a Hopper or newer card are, also of a MIG instance.

Two samples at least 100 ms apart (nvml.h nvmlGpmMetricsGet) give means over the time between: each
reading covers the time since the one before. GPM takes no profiling lock: it works beside DCGM and Nsight.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from ullage_agent.backend import Call
from ullage_agent.backends.nvidia.nvml_library import Library
from ullage_contract.errors import Broken, NotSupported, ReadingError
from ullage_contract.sample import Value

APART_SECONDS: Final = 0.1

CARD_METRICS: Final = {
    2: "sm_active_ratio",
    3: "sm_occupancy_ratio",
    5: "tensor_active_ratio",
    11: "fp64_active_ratio",
    12: "fp32_active_ratio",
    13: "fp16_active_ratio",
}
"""nvmlGpmMetricId_t -> key; all in per cent."""

SLICE_METRICS: Final = {
    1: "utilization_ratio",
    2: "sm_active_ratio",
    3: "sm_occupancy_ratio",
    5: "tensor_active_ratio",
    10: "memory_bandwidth_ratio",
}


def supported(library: Library, call: Call, card: str, handle: Any) -> bool:
    """Raises ReadingError other than NotSupported, e.g. when the question hung before."""
    try:
        answer = library.ask(
            call,
            card,
            "nvmlGpmQueryDeviceSupport",
            lambda: library.nvml.nvmlGpmQueryDeviceSupport(handle),
        )
    except NotSupported:
        return False
    return bool(answer.isSupportedDevice)


class Gpm:
    """One card's, or with ``instance`` one GPU instance's, GPM readings."""

    def __init__(
        self,
        library: Library,
        card: str,
        handle: Any,
        metrics: dict[int, str],
        instance: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._library = library
        self._card = card
        self._handle = handle
        self._metrics = metrics
        self._instance = instance
        self._sleep = sleep
        self._monotonic = monotonic
        self._samples: list[Any] = []
        self._taken_at: float | None = None
        self._request: Any = None

    def read(self, call: Call) -> tuple[dict[str, Value], dict[str, str]]:
        """(values, failed) since the reading before. The first one waits until 100 ms are over.

        Raises ReadingError when GPM as a whole does not answer.
        """
        nvml = self._library.nvml
        if not self._samples:
            for _ in range(2):
                self._samples.append(
                    self._library.ask(call, self._card, "nvmlGpmSampleAlloc", nvml.nvmlGpmSampleAlloc)
                )
        if self._taken_at is None:
            self._take(call, self._samples[0])
        since = self._monotonic() - (self._taken_at or 0.0)
        if since < APART_SECONDS:
            self._sleep(APART_SECONDS - since)
        self._take(call, self._samples[1])
        answer = self._library.ask(call, self._card, "nvmlGpmMetricsGet", self._get)
        self._samples.reverse()  # the newer sample is the older one of the next reading
        values: dict[str, Value] = {}
        failed: dict[str, str] = {}
        for position, key in enumerate(self._metrics.values()):
            metric = answer.metrics[position]
            if metric.nvmlReturn == 0 and math.isfinite(metric.value) and metric.value >= 0:
                # a counter read at two instants may overshoot by a hair
                values[key] = min(metric.value / 100, 1.0)
            elif metric.nvmlReturn != 3:
                failed[key] = Broken.reason
        return values, failed

    def start(self, call: Call) -> None:
        """Take the first sample now, so that the next reading need not wait. Errors wait for ``read``."""
        try:
            nvml = self._library.nvml
            while len(self._samples) < 2:
                self._samples.append(
                    self._library.ask(call, self._card, "nvmlGpmSampleAlloc", nvml.nvmlGpmSampleAlloc)
                )
            if self._taken_at is None:
                self._take(call, self._samples[0])
        except ReadingError:
            self._taken_at = None

    def close(self) -> None:
        """Give the samples back. Never raises."""
        while self._samples:
            try:
                self._library.nvml.nvmlGpmSampleFree(self._samples.pop())
            except self._library.nvml.NVMLError:
                pass
        self._taken_at = None

    def _take(self, call: Call, sample: Any) -> None:
        nvml = self._library.nvml
        if self._instance is None:
            self._library.ask(
                call,
                self._card,
                "nvmlGpmSampleGet",
                lambda: nvml.nvmlGpmSampleGet(self._handle, sample),
            )
        else:
            instance = self._instance
            self._library.ask(
                call,
                self._card,
                "nvmlGpmMigSampleGet",
                lambda: nvml.nvmlGpmMigSampleGet(self._handle, instance, sample),
            )
        self._taken_at = self._monotonic()

    def _get(self) -> Any:
        nvml = self._library.nvml
        if self._request is None:
            request = nvml.c_nvmlGpmMetricsGet_t()
            request.version = nvml.NVML_GPM_METRICS_GET_VERSION
            request.numMetrics = len(self._metrics)
            for position, metric in enumerate(self._metrics):
                request.metrics[position].metricId = metric
            self._request = request
        self._request.sample1, self._request.sample2 = self._samples
        return nvml.nvmlGpmMetricsGet(self._request)
