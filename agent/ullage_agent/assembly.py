"""The agent put together from its settings: makers, sources, sampler. The one place that knows them all.

Not here: the loop and the signals (daemon), what goes out (outputs), what each part does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ullage_agent import makers, registry
from ullage_agent.backend import Host
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_agent.config import Config
from ullage_agent.makers import Makers
from ullage_agent.outputs.wiring import Outputs
from ullage_agent.pump import EventPump
from ullage_agent.registry import Registry
from ullage_agent.sampler import Sampler, Tick
from ullage_agent.sink import Sink
from ullage_agent.sources.host import HostSource
from ullage_agent.sources.kernel_log import KernelLog, patterns_of
from ullage_agent.sources.rdma import RdmaPorts
from ullage_agent.worker import InProcess
from ullage_contract import __version__
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.event import Event, Severity
from ullage_contract.identity import boot_id, machine_id
from ullage_contract.sample import Facts, Family, Origin, Value

if TYPE_CHECKING:  # loaded only on nodes that have a scheduler's hook, a kubelet or processes on their cards
    from ullage_agent.holders.cards import Cards
    from ullage_agent.holders.jobs import Jobs
    from ullage_agent.holders.kubelet import Kubelet
    from ullage_agent.holders.processes import Processes

log = logging.getLogger(__name__)
LOOK_AGAIN_SECONDS: Final = (
    300.0  # our choice: because a driver that is loaded later should be used within minutes
)


class Agent:
    """Everything that reads, made from ``config``. Give ``root`` another tree in tests.

    sinks: where rows go. outputs: asked for the spool's figures when there are any.
    environment: of the makers' children; None means our own.
    kernel_log_state: where the kernel log's position is kept, None to keep none (``once``).
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        root: Path = Path("/"),
        sinks: Sequence[Sink] = (),
        outputs: Outputs | None = None,
        known: Registry | None = None,
        environment: Mapping[str, str] | None = None,
        kernel_log_state: Path | None = None,
    ) -> None:
        self.config = config
        self._root = root
        self._clock = clock
        self._environment = environment
        self._outputs = outputs
        self._registry = known or registry.load()
        self.boot_id = boot_id(root)
        self.machine_id = machine_id(root)
        self._host = Host(node_id=config.node, sysfs=root / "sys", proc=root / "proc", dev=root / "dev")
        self._looked_at = clock.monotonic()
        self._card_at: dict[str, str | None] = {}
        self._cards: Cards | None = None
        self._render: dict[int, str] | None = None
        self._processes: Processes | None = None
        self._holders: list[Jobs | Kubelet] = []
        self.makers: Makers = makers.find(self._registry, config, self._host)
        self._rdma: RdmaPorts | None = None
        self._pumps: list[EventPump] = []
        self._kernel_log_state = kernel_log_state
        self._kubelet_state = kernel_log_state.with_name("kubelet.json") if kernel_log_state else None
        self.sampler = Sampler(
            node_id=config.node,
            clock=clock,
            boot_id=self.boot_id,
            sampling=config.sampling,
            sinks=sinks,
            node_values=self._node_values,
            node_facts=self._node_facts,
            nearest_ports=self._nearest_ports,
            left_out=frozenset() if config.sources.processes else frozenset({Family.PROCESS}),
            process_facts=self._process_facts,
        )
        self._add_makers()
        self._add_sources()

    def tick(self, tier: Tier, *, patience_seconds: float | None = None) -> Tick:
        """One tick of everything; now and then a look for hardware that came late."""
        if self._clock.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self.look_again()
        self._add_holders()
        tick = self.sampler.tick(tier, patience_seconds=patience_seconds)
        self._card_at = self._places()
        self._see_cards()
        return tick

    def look_again(self) -> None:
        """Detect anew; makers whose hardware has appeared are used from now on."""
        self._looked_at = self._clock.monotonic()
        self._render = None
        self.makers = makers.find(self._registry, self.config, self._host)
        self._add_makers()

    def say_started(self) -> None:
        """The agent_started event, with its version."""
        self.sampler.emit(
            Event(
                time=self._clock.wall(),
                kind="agent_started",
                severity=Severity.INFO,
                family=Family.NODE,
                subject=self.config.node,
                source="agent",
                message=f"ullage-agent {__version__} started",
                attributes={"version": __version__},
            )
        )

    def card_of(self, address: str, uuid: str | None) -> str | None:
        """The card at a PCI address; None when none or several are there. From any thread."""
        return uuid or self._card_at.get(address)

    def close(self) -> None:
        """End the children and the sources, then the sinks. Never raises."""
        for pump in self._pumps:
            pump.close()
        self.sampler.close()

    def _add_makers(self) -> None:
        names = set(self.sampler.names)
        sampling = self.config.sampling
        for maker in self.makers.used():
            if maker.backend.name in names:
                continue
            supervisor = Supervisor(
                maker.backend,
                maker.host,
                self._clock,
                deadlines=Deadlines(
                    call=sampling.call_deadline_seconds, start=sampling.start_deadline_seconds
                ),
                environment=self._environment,
            )
            # an emulator's cards are nobody's: they must not be billed
            made_up = maker.backend.simulated or maker.backend.name in self.config.inject.emulated
            self.sampler.add(supervisor, Origin.SIMULATED if made_up else Origin.REAL)
            log.info(
                "%s: used (%s)", maker.backend.name, "; ".join(maker.detection.found[:2]) or "configured"
            )

    def _add_sources(self) -> None:
        wanted = self.config.sources
        if wanted.host:
            self.sampler.add(
                InProcess(
                    HostSource(
                        self.config.node,
                        sysfs=self._host.sysfs,
                        proc=self._host.proc,
                        root=self._root,
                        clock=self._clock,
                    )
                )
            )
        if wanted.rdma:
            drill = self.config.inject.sysfs
            self._rdma = RdmaPorts(
                self.config.node,
                sysfs=drill or self._host.sysfs,
                proc=self._host.proc,
                clock=self._clock,
                lossless_priority=wanted.lossless_priority,
                management=frozenset(wanted.management_devices),
            )
            self.sampler.add(InProcess(self._rdma), Origin.REAL if drill is None else Origin.SIMULATED)
        if wanted.kernel_log:
            recorded = self.config.inject.kernel_log
            kernel_log = KernelLog(
                patterns_of(self._registry.backends),
                node_id=self.config.node,
                clock=self._clock,
                card_of=self.card_of,
                path=recorded or self._host.dev / "kmsg",
                state=self._kernel_log_state if recorded is None else None,
                boot_id=self.boot_id,
                wake=self._waker(KernelLog.name),
            )
            self.sampler.add(InProcess(kernel_log), Origin.REAL if recorded is None else Origin.SIMULATED)

    def _add_holders(self) -> None:
        """Scheduler hooks and the kubelet, as soon as they are there: either may come after the agent."""
        wanted = self.config.holders
        names = {source.name for source in self._holders}
        jobs, socket = (
            None if path is None else self._root / path.relative_to("/")
            for path in (wanted.jobs_dir, wanted.kubelet_socket)
        )
        if jobs is not None and "jobs" not in names and _is_there(jobs):
            from ullage_agent.holders.jobs import Jobs

            self._add_holder(
                Jobs(
                    jobs,
                    node_id=self.config.node,
                    clock=self._clock,
                    cards=self._cards_now,
                    owners=wanted.owners,
                    wake=self._waker(Jobs.name),
                )
            )
        if socket is not None and "kubelet" not in names and _is_there(socket):
            from ullage_agent.holders.kubelet import Kubelet

            self._add_holder(
                Kubelet(
                    socket,
                    node_id=self.config.node,
                    clock=self._clock,
                    cards=self._cards_now,
                    interval_seconds=wanted.kubelet_seconds,
                    state=self._kubelet_state,
                    wake=self._waker(Kubelet.name),
                )
            )

    def _add_holder(self, source: Jobs | Kubelet) -> None:
        self._holders.append(source)
        self.sampler.add(InProcess(source))
        log.info("%s: used", source.name)

    def _cards_now(self) -> Cards:
        """From any thread: it is replaced, never changed."""
        from ullage_agent.holders.cards import Cards

        return self._cards or Cards()

    def _see_cards(self) -> None:
        """Take the cards as they are stated now, where anybody needs them, and say so when they are others."""
        if not self._holders:
            return
        from ullage_agent.holders.cards import Cards, render_nodes

        if self._render is None:
            self._render = render_nodes(self._host.sysfs)
        cards = Cards.of(self.sampler.book, self._render)
        if cards != self._cards:
            self._cards = cards
            for source in self._holders:
                source.cards_changed()

    def _process_facts(self, facts: Facts) -> Facts:
        """A process's facts with what the host knows of it."""
        if self._processes is None:
            from ullage_agent.holders.processes import Processes

            self._processes = Processes(self._host.proc, self._clock)
        return self._processes.complete(facts)

    def _waker(self, name: str) -> Callable[[], None]:
        """What a source calls, from any thread, when it has events waiting. Each has a pump of its own, so that one
        that hangs delays no other's events."""
        pump = EventPump(self.sampler)
        self._pumps.append(pump)
        return partial(pump.wake, name)

    def _nearest_ports(self, address: str) -> Sequence[str]:
        return self._rdma.nearest_ports(address)[0] if self._rdma is not None else ()

    def _node_values(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        expected = self.makers.cards_expected()
        if expected is not None:
            values["cards_expected"] = expected
        if self._outputs is not None:
            values["spool_bytes"] = self._outputs.spool_bytes
            values["spool_dropped_batches"] = self._outputs.spool_dropped_batches
        return values

    def _node_facts(self) -> dict[str, Value | list[str] | None]:
        stuck = {supervisor.name: supervisor.stuck for supervisor in self.sampler.supervisors}
        states = [
            f"{maker.backend.name}={'stuck' if stuck.get(maker.backend.name) else 'used' if maker.used else 'decodes only'}"
            for maker in self.makers.every
            if maker.detection.present
        ]
        return {
            "agent_version": __version__,
            "machine_id": self.machine_id,
            "backends": states + [f"{broken.name}=broken" for broken in self.makers.broken],
        }

    def _places(self) -> dict[str, str | None]:
        """PCI address -> card_id; None where several chips share one."""
        places: dict[str, str | None] = {}
        for card in self.sampler.book.subjects(Family.CARD):
            address = self.sampler.book.attributes(Family.CARD, card).get("pci_address")
            if isinstance(address, str):
                places[address] = None if address in places else card
        return places


def _is_there(path: Path) -> bool:
    """Whether something is there. What we may not look at is taken as there, so that it is said by its source."""
    try:
        os.stat(path)  # noqa: PTH116 asked at every tick
    except PermissionError:
        return True
    except OSError:
        return False
    return True
