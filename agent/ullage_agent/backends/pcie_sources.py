"""Where the values of pcie.py come from, apart from it so that a description costs no import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SOURCES: Final[Mapping[str, str]] = {
    "pcie_generation": "/sys/bus/pci/devices/BDF/current_link_speed",
    "pcie_generation_max": "/sys/bus/pci/devices/BDF/max_link_speed",
    "pcie_width": "/sys/bus/pci/devices/BDF/current_link_width",
    "pcie_width_max": "/sys/bus/pci/devices/BDF/max_link_width",
    "pcie_aer_correctable": "/sys/bus/pci/devices/BDF/aer_dev_correctable TOTAL_ERR_COR",
    "pcie_aer_nonfatal": "/sys/bus/pci/devices/BDF/aer_dev_nonfatal TOTAL_ERR_NONFATAL",
    "pcie_aer_fatal": "/sys/bus/pci/devices/BDF/aer_dev_fatal TOTAL_ERR_FATAL",
}
