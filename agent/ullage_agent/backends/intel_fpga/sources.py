"""Where each value of an Intel FPGA card comes from; printed in docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

_FME: Final = "/sys/bus/platform/devices/dfl-fme.N"
_BMC: Final = "the board controller's hwmon (intel-m10-bmc)"

SOURCES: Final[Mapping[str, str]] = {
    "power_watts": f"{_BMC}: Board Power, else volts times amperes of its 12 V inputs; else {_FME} hwmon dfl_fme_power",
    "power_limit_watts": f"{_FME} hwmon dfl_fme_power power1_max (it throttles to a half above)",
    "temperature_celsius": f"{_FME} hwmon dfl_fme_thermal temp1_input; else {_BMC}: FPGA temperatures, the highest",
    "board_temperature_celsius": f"{_BMC}: board temperatures, the highest",
    "temperature_limit_celsius": f"{_FME} hwmon dfl_fme_thermal temp1_max (throttling begins)",
    "voltage_volts": f"{_BMC}: FPGA Core Voltage",
    "current_amperes": f"{_BMC}: FPGA Core Current",
    "throttle_reasons": f"{_FME} hwmon temp1_max_alarm, temp1_crit_alarm, power1_max_alarm, power1_crit_alarm",
    "health": f"derived: {_FME}/errors/ catfatal_errors, fme_errors, nonfatal_errors, pcie0_errors, pcie1_errors",
    "health_detail": "the error registers that are not 0",
    "processes": "processes with its /dev/dfl-fme or /dev/dfl-port nodes open",
    **PCIE,
}
