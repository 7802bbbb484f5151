"""Where each catalogue value of an Ascend chip comes from; printed in docs/metrics.md.

``rate n`` is dcmi_get_device_utilization_rate with input type n, ``freq n`` dcmi_get_device_frequency.
On the generation whose library only has dcmiv2_* (one device id), the function of the same name there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE_SOURCES

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": "rate 2 (AI Core); slice: dcmi_get_device_info(VDEV_MNG) vdev_aicore_utilization",
    "tensor_active_ratio": "rate 14 (cube)",
    "vector_active_ratio": "rate 12 (vector)",
    "control_cpu_ratio": "rate 4 (control CPU)",
    "memory_bandwidth_ratio": "rate 10 (HBM bandwidth), on chips without HBM rate 5",
    "memory_used_bytes": "dcmi_get_device_hbm_info.memory_usage; without HBM dcmi_get_device_memory_info_v3 size - available",
    "memory_total_bytes": "dcmi_get_device_hbm_info.memory_size; without HBM dcmi_get_device_memory_info_v3.memory_size",
    "memory_ratio": "slice only: dcmi_get_device_info(VDEV_MNG, 5) vdev_memory_free over vdev_memory_total",
    "power_watts": "dcmi_get_device_power_info; not on the further chips of a board that shares its reading",
    "board_power_watts": "dcmi_get_device_power_info of chip 0 where several chips share it, else dcmi_mcu_get_power_info",
    "voltage_volts": "dcmi_get_device_voltage",
    "temperature_celsius": "dcmi_get_device_temperature",
    "memory_temperature_celsius": "dcmi_get_device_hbm_info.temp",
    "clock_sm_hertz": "freq 7 (AI Core now)",
    "clock_core_max_hertz": "freq 9 (AI Core rated)",
    "clock_memory_hertz": "freq 6 (HBM), without HBM freq 1 (DDR)",
    "link_crc_errors": "dcmi_get_device_info(HCCS, 5) crc_err_cnt, all lanes",
    "link_replay_errors": "dcmi_get_device_info(HCCS, 5) retry_cnt, all lanes",
    "ecc_corrected": "dcmi_get_device_ecc_info single_bit_error_cnt of HBM, without HBM of DDR",
    "ecc_uncorrected": "dcmi_get_device_ecc_info double_bit_error_cnt of HBM, without HBM of DDR",
    "ecc_corrected_lifetime": "dcmi_get_device_ecc_info total_single_bit_error_cnt",
    "ecc_uncorrected_lifetime": "dcmi_get_device_ecc_info total_double_bit_error_cnt",
    "retired_pages": "dcmi_get_device_ecc_info isolated pages, single and double bit",
    "retired_pages_corrected": "dcmi_get_device_ecc_info single_bit_isolated_pages_cnt",
    "retired_pages_uncorrected": "dcmi_get_device_ecc_info double_bit_isolated_pages_cnt",
    "remap_pending": "dcmi_get_device_ecc_info: pages that are isolated at the next reset",
    "health": "dcmi_get_device_health, and the codes of dcmi_get_device_errorcode_v2 by fault_codes.json",
    "health_detail": "dcmi_get_device_health in npu-smi's words, standing codes, dcmi_get_device_network_health",
    "recovery_action": "the level of the worst standing code (fault_codes.json)",
    **PCIE_SOURCES,
    "processes": "dcmi_get_device_resource_info (32 at most)",
    "process_memory_used_bytes": "dcmi_get_device_resource_info",
}
