"""Whose PCI functions are Alveo cards: Xilinx's vendor id, and the drivers of XRT."""

from __future__ import annotations

from typing import Final

VENDOR: Final = "10ee"
DRIVERS: Final = ("xocl", "xclmgmt", "xocl_v2", "xclmgmt_v2", "xrt-mgmt", "xrt-user")
