"""The simulated cards as a reader: facts, readings and events as a maker's library would give them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ullage_agent.backend import Call, Host, Reading
from ullage_agent.backends.simulated import dynamics
from ullage_agent.backends.simulated.faults import ControlFile, Fault, parse
from ullage_agent.backends.simulated.models import MIXED, MODELS, Identity, Model, identity
from ullage_agent.backends.simulated.simulation import Card, Server
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, keys
from ullage_contract.errors import CardLost, ConfigError, ReadingError
from ullage_contract.event import Event, Severity
from ullage_contract.identity import port_id
from ullage_contract.sample import Facts, Family, Value

log = logging.getLogger(__name__)

HANG_SECONDS: Final = 3600.0  # our choice: longer than any deadline, and a forgotten process ends at last
MOST_CARDS: Final = 64  # our choice: more than any server has; a typing mistake must not eat the node
PACKET_BYTES: Final = 4096
_CARD_KEYS: Final = keys(Family.CARD)


def open_reader(host: Host) -> SimulatedReader:
    """The reader for ``[backends.simulated]``. Raises ConfigError for a setting it cannot use."""
    return SimulatedReader(host)


class SimulatedReader:
    """See ``backend.Reader``. now: the wall clock; sleep: what a hanging call does."""

    def __init__(
        self,
        host: Host,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        settings = host.settings
        self._node_id = host.node_id
        self._now = now
        self._sleep = sleep
        models = _models(settings)
        ports = _number(settings, "ports", len(models), 0, MOST_CARDS)
        self._cards = [(model, identity(host.node_id, i, model)) for i, model in enumerate(models)]
        opened = now()
        self._epoch = f"sim-{opened:.0f}"
        self._server = Server(
            models, seed=f"{settings.get('seed', 1)}/{host.node_id}", now=opened, ports=ports
        )
        self._faults = parse(str(settings.get("faults", "")), opened)
        control = settings.get("control_file")
        self._control = ControlFile(Path(str(control))) if control else None
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._events: list[Event] = []

    def facts(self, call: Call) -> Iterator[Facts]:
        """Cards that answer, and ports."""
        now = self._now()
        self._apply(now)
        for place, (model, who) in enumerate(self._cards):
            if not self._active("lost", place, now):
                yield Facts(Family.CARD, who.card_id, now, self._card_facts(place, model, who))
        for place, _ in enumerate(self._server.ports):
            yield Facts(Family.PORT, self._port_id(place), now, self._port_facts(place))

    def read(self, tier: Tier, call: Call) -> Iterator[Reading]:
        """One reading a card, made through ``call`` as a library's would be, then one a port."""
        now = self._now()
        self._server.advance(now)
        self._apply(now)
        for place, (model, who) in enumerate(self._cards):
            yield self._read_card(place, model, who, tier, call, now)
        for place, _ in enumerate(self._server.ports):
            yield self._read_port(place, tier)

    def events(self, call: Call) -> Iterator[Event]:
        """What the faults made happen since the last call."""
        self._apply(self._now())
        found, self._events = self._events, []
        yield from found

    def close(self) -> None:
        """Nothing is held."""

    # ---- readings

    def _read_card(
        self, place: int, model: Model, who: Identity, tier: Tier, call: Call, now: float
    ) -> Reading:
        card = self._server.cards[place]
        failed: dict[str, str] = {}
        try:
            call(who.card_id, "handle", lambda: self._answer(place, now))
        except CardLost:
            return Reading(Family.CARD, who.card_id, {"health": "lost"}, counters_epoch=self._epoch)
        values = self._values(card, place, now)
        try:
            values["power_watts"] = call(who.card_id, "power", lambda: self._power(card, place, now))
        except ReadingError as e:
            failed["power_watts"] = e.reason
        wanted = {
            key: value
            for key, value in values.items()
            if key in model.keys and (tier is Tier.SLOW or _CARD_KEYS[key].tier is Tier.FAST)
        }
        return Reading(Family.CARD, who.card_id, wanted, failed, counters_epoch=self._epoch)

    def _answer(self, place: int, now: float) -> None:
        if self._active("lost", place, now):
            raise CardLost(f"simulated card {place} of {self._node_id} is lost, as asked")

    def _power(self, card: Card, place: int, now: float) -> float:
        hang = next(
            (f for f in self._faults if f.kind == "hang" and f.place == place and f.active(now)), None
        )
        if hang is not None:
            self._sleep(min(HANG_SECONDS, hang.ends - now))
        step = card.model.power_step_watts
        return round(round(card.power / step) * step, 3)

    def _values(self, card: Card, place: int, now: float) -> dict[str, Value]:
        model = card.model
        busy = card.utilization > 0
        clock = model.clock_max_hertz if busy else model.clock_idle_hertz
        hot = card.heat_celsius > 0
        if hot or card.slow:
            clock = clock * 6 // 10
        reasons = [] if busy else ["idle"]
        if card.power >= model.tdp_watts * 0.985:
            reasons.append("software_power_cap")
        if hot:
            reasons.append("hardware_thermal")
        struck = any(f.kind == "ecc" and f.place == place and f.active(now) for f in self._faults)
        critical = struck or any(
            f.kind == "xid" and f.place == place and f.active(now) and f.code not in _APPLICATION_XIDS
            for f in self._faults
        )
        return {
            "utilization_ratio": card.utilization,
            "sm_active_ratio": round(dynamics.sm_active(card.utilization, card.intensity), 4),
            "tensor_active_ratio": round(dynamics.tensor_active(card.utilization, card.intensity), 4),
            "memory_bandwidth_ratio": round(dynamics.memory_bandwidth(card.utilization, card.intensity), 4),
            "control_cpu_ratio": 0.03 if busy else 0.0,
            "memory_used_bytes": card.memory_used,
            "memory_total_bytes": model.memory_bytes,
            "power_limit_watts": model.tdp_watts,
            "energy_joules": round(card.energy, 3),
            "voltage_volts": 0.85 if busy else 0.72,
            "temperature_celsius": float(round(card.temperature)),
            "memory_temperature_celsius": float(round(card.memory_temperature)),
            "hotspot_temperature_celsius": float(round(card.temperature + 9)),
            "board_temperature_celsius": float(round(card.temperature - 6)),
            "clock_core_hertz": float(clock),
            "clock_sm_hertz": float(clock),
            "clock_memory_hertz": float(model.clock_memory_hertz),
            "throttle_reasons": sum(1 << THROTTLE_REASONS.index(reason) for reason in reasons),
            "pcie_rx_bytes": int(card.pcie_rx),
            "pcie_tx_bytes": int(card.pcie_tx),
            "pcie_width": 16,
            "pcie_generation": model.pcie_generation if busy else 1,
            "link_rx_bytes": int(card.link_bytes),
            "link_tx_bytes": int(card.link_bytes),
            "links_active": model.links,
            "links_total": model.links,
            "ecc_corrected": card.ecc_corrected,
            "ecc_uncorrected": card.ecc_uncorrected,
            "retired_pages": int(struck),
            "remap_pending": int(struck),
            "remap_failure": 0,
            "recovery_action": "reset" if struck else "none",
            "health": "critical" if critical else "degraded" if hot or card.slow else "ok",
            "health_detail": "simulated fault" if critical or hot or card.slow else "simulated",
            "processes": int(card.job is not None),
        }

    def _read_port(self, place: int, tier: Tier) -> Reading:
        port = self._server.ports[place]
        rate = self._cards[place % len(self._cards)][0].port_rate_bits if self._cards else 0
        values: dict[str, Value] = {
            "state": "down" if port.down else "active",
            "physical_state": "polling" if port.down else "link_up",
            "xmit_data_bytes": int(port.xmit) // 4 * 4,
            "rcv_data_bytes": int(port.rcv) // 4 * 4,
            "xmit_packets": int(port.xmit) // PACKET_BYTES,
            "rcv_packets": int(port.rcv) // PACKET_BYTES,
            "xmit_wait": int(port.wait) % (1 << 32),
            "symbol_errors": 0,
            "link_downed": min(port.link_downed, 255),
            "rcv_errors": 0,
            "xmit_discards": 0,
            "out_of_sequence": 0,
            "packet_seq_err": 0,
            "local_ack_timeout_err": 0,
        }
        if not port.down:
            values["rate_bits_per_second"] = rate
            if tier is Tier.SLOW:
                values["width_lanes"] = 4
        return Reading(Family.PORT, self._port_id(place), values)

    # ---- facts

    def _card_facts(self, place: int, model: Model, who: Identity) -> dict[str, Value | list[str] | None]:
        ports = [self._port_id(place)] if place < len(self._server.ports) else []
        return {
            "vendor": model.vendor,
            "model": model.name,
            "uuid": who.card_id,
            "serial": who.serial,
            "board_id": who.board_id,
            "pci_address": who.pci_address,
            "index": place,
            "minor": place,
            "numa_node": 0 if place < len(self._cards) / 2 else 1,
            "memory_total_bytes": model.memory_bytes,
            "power_limit_default_watts": model.tdp_watts,
            "partition_mode": "none",
            "util_kind": model.util_kind,
            "driver_version": model.driver,
            "runtime_version": model.runtime,
            "node_id": self._node_id,
            "nearest_ports": ports,
            "unsupported": sorted(set(_CARD_KEYS) - model.keys),
        }

    def _port_facts(self, place: int) -> dict[str, Value | list[str] | None]:
        return {
            "node_id": self._node_id,
            "device": f"sim_{place}",
            "port": 1,
            "link_layer": "InfiniBand",
            "hca_type": "SIM4129",
            "role": "fabric",
        }

    def _port_id(self, place: int) -> str:
        return port_id(self._node_id, f"sim_{place}", 1)

    # ---- faults

    def _active(self, kind: str, place: int, now: float) -> bool:
        return any(f.kind == kind and f.place == place and f.active(now) for f in self._faults)

    def _apply(self, now: float) -> None:
        """Take new faults, and let those whose time has come begin or end, each once."""
        if self._control is not None:
            try:
                for fault in self._control.new(now):
                    self._faults.append(fault)
            except ConfigError as e:
                log.warning("control file: %s", e)
        for number, fault in enumerate(self._faults):
            if number not in self._begun and now >= fault.begins:
                self._begun.add(number)
                self._begin(fault)
            if number in self._begun and number not in self._ended and now >= fault.ends:
                self._ended.add(number)
                self._end(fault)
        for place, card in enumerate(self._server.cards):
            card.heat_celsius = 30.0 if self._active("hot", place, now) else 0.0
            card.slow = self._active("slow", place, now)

    def _begin(self, fault: Fault) -> None:
        if fault.kind == "port_down":
            self._port_event(fault, down=True)
            return
        if not 0 <= fault.place < len(self._cards):
            log.warning("fault %s: there is no card %d", fault.kind, fault.place)
            return
        card = self._server.cards[fault.place]
        if fault.kind == "xid":
            self._strike(fault)
        elif fault.kind == "ecc":
            card.ecc_uncorrected += fault.count
            self._tell(
                fault, "ecc_uncorrected", Severity.CRITICAL, f"{fault.count} uncorrectable memory errors"
            )
        elif fault.kind == "corrected":
            card.ecc_corrected += fault.count
        elif fault.kind == "lost":
            self._tell(fault, "card_lost", Severity.FATAL, "the card no longer answers")

    def _strike(self, fault: Fault) -> None:
        model, _ = self._cards[fault.place]
        code = fault.code or "79"
        card = self._server.cards[fault.place]
        card.job, card.free_until = None, fault.begins + 600  # what ran there is gone
        severity = Severity.WARNING if code in _APPLICATION_XIDS else Severity.CRITICAL
        if model.vendor == "nvidia":
            self._tell(fault, "xid", severity, f"Xid {code}", code=code)
        else:
            self._tell(fault, "ras", severity, f"fault code {code}", code=code)

    def _end(self, fault: Fault) -> None:
        if fault.kind == "port_down":
            self._port_event(fault, down=False)
        elif fault.kind == "lost" and 0 <= fault.place < len(self._cards):
            self._tell(fault, "card_back", Severity.INFO, "the card answers again", at=fault.ends)

    def _tell(
        self,
        fault: Fault,
        kind: str,
        severity: Severity,
        message: str,
        *,
        code: str | None = None,
        at: float | None = None,
    ) -> None:
        model, who = self._cards[fault.place]
        self._events.append(
            Event(
                time=fault.begins if at is None else at,
                kind=kind,
                severity=severity,
                family=Family.CARD,
                subject=who.card_id,
                source="library",
                message=f"simulated: {message}",
                code=code,
                vendor=model.vendor,
                attributes={"pci_address": who.pci_address, "simulated": 1},
            )
        )

    def _port_event(self, fault: Fault, *, down: bool) -> None:
        if not 0 <= fault.place < len(self._server.ports):
            log.warning("fault port_down: there is no port %d", fault.place)
            return
        port = self._server.ports[fault.place]
        port.down = down
        port.link_downed += down
        self._events.append(
            Event(
                time=fault.begins if down else fault.ends,
                kind="port_down" if down else "port_up",
                severity=Severity.CRITICAL if down else Severity.INFO,
                family=Family.PORT,
                subject=self._port_id(fault.place),
                source="library",
                message=f"simulated: port sim_{fault.place}/1 is {'down' if down else 'up again'}",
                attributes={"simulated": 1},
            )
        )


_APPLICATION_XIDS: Final = frozenset({"8", "11", "13", "31", "43", "45"})
"""Xids that are the application's doing by NVIDIA's own catalogue (RESTART_APP), with 45 that follows others."""


def _models(settings: Any) -> list[Model]:
    count = _number(settings, "cards", 8, 1, MOST_CARDS)
    name = str(settings.get("model", "mixed"))
    if name == "mixed":
        return [MODELS[MIXED[i % len(MIXED)]] for i in range(count)]
    if name not in MODELS:
        raise ConfigError(
            f'[backends.simulated] model = {name!r}: give "mixed" or one of {", ".join(MODELS)}'
        )
    return [MODELS[name]] * count


def _number(settings: Any, name: str, plain: int, least: int, most: int) -> int:
    value = settings.get(name, plain)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(
            f"[backends.simulated] {name} = {value!r}: give a whole number from {least} to {most}"
        )
    return value
