"""The desk of probes: decides whether what a collector asks may run here, runs it, and says what became of it.

Every ask is answered by one event ``probe_result``, refusals with the reason; one that was seen before is not
answered again and never runs twice. One runs at a time, in the order they were asked, and only on a card on which,
by a reading made for it, there is no process, no job and no pod. That the card is kept from new work is the
collector's to see to: an agent cannot see a scheduler's mind, so it looks again when the probe has ended.

Not here: what each probe does, and the process it runs in.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from ullage_agent.probes import passive
from ullage_agent.probes.process import Job, ProbeProcess
from ullage_agent.probes.remembered import Remembered
from ullage_agent.probes.settings import COMMANDS, Command, Probes, filled
from ullage_agent.probes.verdict import Found, refused
from ullage_agent.probes.watch import Seen, Watch
from ullage_contract.asked import LONGEST_LIFE_SECONDS, MAX_ASKED, AskedProbe, ProbeOutcome
from ullage_contract.clock import Clock
from ullage_contract.event import Event, Severity
from ullage_contract.identity import pci_address
from ullage_contract.sample import Family, Origin, Value

log = logging.getLogger(__name__)

FILE_NAME: Final = "probes.json"
READS_ONLY: Final = ("enumerate", "settled")
MOST_WAITING: Final = (
    4 * MAX_ASKED
)  # our choice: a collector asks at most MAX_ASKED of a node; the rest is noise
CLOCK_SLACK_SECONDS: Final = 60.0  # our choice: how much later than allowed an expiry may look by two clocks


class Run(Protocol):
    """How a job is run: ProbeProcess.run, or a test's."""

    def __call__(self, job: Job, name: str) -> Found | None: ...


class Desk:
    """``asked`` is called by the senders; everything else happens in a thread that the first ask begins.

    cluster, node: who we are. folder: where the memory of asks is kept. fresh_seconds: how long a reading of both
    tiers may take to come. watch: the sink that belongs to it, None where no probe is enabled.
    """

    def __init__(
        self,
        settings: Probes,
        *,
        cluster: str,
        node: str,
        folder: Path,
        fresh_seconds: float,
        clock: Clock,
        run: Run | None = None,
    ) -> None:
        self._settings = settings
        self._here = (cluster, node)
        self._path = folder / FILE_NAME
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._stopping = False
        self._process = ProbeProcess(cgroup_parent=settings.cgroup, stopping=lambda: self._stopping)
        self._run: Run = run or self._process.run
        self.watch = Watch(fence_accounts=settings.fence_accounts) if settings.enable else None
        self._emit: Callable[[Event, Origin], None] | None = None
        self._ask_facts: Callable[[], None] = lambda: None
        self._waiting: queue.Queue[tuple[AskedProbe, float | None] | None] = queue.Queue(MOST_WAITING)
        self._queued: set[str] = set()
        self._remembered: Remembered | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.ran = 0
        """Probes that ran since the start."""

    def start(
        self, emit: Callable[[Event, Origin], None], ask_facts: Callable[[], None] = lambda: None
    ) -> None:
        """Events go to ``emit`` from now on. ask_facts: makes the next tick ask every maker anew."""
        self._emit = emit
        self._ask_facts = ask_facts
        if self._path.exists():
            self._begin()  # one that an agent before us began has to be told of

    def asked(self, asked: Sequence[AskedProbe], skew_seconds: float | None) -> None:
        """What an answer asks; returns at once. skew_seconds: our clock minus the collector's, None if not said."""
        for one in asked:
            with self._lock:
                if one.probe_id in self._queued:
                    continue  # every answer asks again until the collector has heard what became of it
                try:
                    self._waiting.put_nowait((one, skew_seconds))
                    self._queued.add(one.probe_id)
                except queue.Full:
                    log.warning("more probes are asked than can wait; %s is not looked at", one.probe_id)
        self._begin()

    def close(self) -> None:
        """End what runs, without a verdict. Never raises."""
        self._stopping = True
        if self.watch is not None:
            self.watch.close()
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                pass
            self._thread.join(5.0)

    # ---- the thread

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and self._emit is not None and not self._stopping:
                self._thread = threading.Thread(target=self._loop, name="ullage-probes", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        for one in self._memory(None).interrupted():
            self._tell(one, refused("the agent ended while it ran: nothing is known, ask again"))
        while not self._stopping:
            try:
                taken = self._waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            if taken is None:
                return
            try:
                self.step(*taken)
            except Exception:  # one bad part never stops the rest
                log.exception("BUG: probe %s", taken[0].probe_id)
            with self._lock:
                self._queued.discard(taken[0].probe_id)

    def step(self, asked: AskedProbe, skew_seconds: float | None) -> None:
        """Decide on one ask and carry it out; what the thread does, for tests by hand."""
        memory = self._memory(skew_seconds)
        if memory.knows(asked):
            return
        why_not = self._why_not(asked, skew_seconds)
        if why_not is None and memory.may_have_known(asked):
            why_not = refused("it may have been asked before, and is forgotten; ask anew")
        try:
            memory.begin(asked, running=why_not is None)
        except OSError as e:
            why_not = refused(
                f"{self._path} cannot be written ({e.strerror}): what was asked could be asked twice"
            )
        if why_not is not None:
            self._tell(asked, why_not)
            return
        found = self._carry_out(asked)
        if found is not None:
            self._tell(asked, found)

    def _memory(self, skew_seconds: float | None) -> Remembered:
        if self._remembered is None:
            skew = skew_seconds if skew_seconds is not None and math.isfinite(skew_seconds) else 0.0
            self._remembered = Remembered(self._path, now=self._clock.wall() - skew)
        return self._remembered

    # ---- whether

    def _why_not(self, asked: AskedProbe, skew_seconds: float | None) -> Found | None:
        """The refusal that needs no look at the card; None: go on."""
        if (asked.cluster, asked.node) != self._here:
            return refused(f"it is asked of {asked.cluster}/{asked.node}, this is {'/'.join(self._here)}")
        if skew_seconds is None or not math.isfinite(skew_seconds):
            return refused("the collector does not say its time: an expiry cannot be judged")
        now = self._clock.wall() - skew_seconds
        if asked.expires <= now:
            return Found(
                ProbeOutcome.EXPIRED, f"its time was over {now - asked.expires:.0f} s before it could begin"
            )
        if asked.expires > now + LONGEST_LIFE_SECONDS + CLOCK_SLACK_SECONDS:
            return refused(
                f"it expires in {asked.expires - now:.0f} s; at most {LONGEST_LIFE_SECONDS:.0f} are taken"
            )
        if asked.probe not in self._settings.enable or self.watch is None:
            return refused(f"{asked.probe} is not on this node's allow-list; name it in [probes] enable")
        if self._process.stuck:
            return refused("the process of an earlier probe cannot be killed: a driver holds it")
        return None

    # ---- carrying out

    def _carry_out(self, asked: AskedProbe) -> Found | None:
        """None when the agent stops meanwhile."""
        watch = self.watch
        assert watch is not None
        since = watch.tick + 1
        self._ask_facts()
        if not self._fresh(asked.card, since):
            if self._stopping:
                return None
            if asked.probe == "enumerate":
                return passive.enumerated(asked.card, watch.card(asked.card), since_tick=since)
            return refused("the card is not read on this node")
        touches = asked.probe not in READS_ONLY
        if busy := watch.work_on(asked.card, since_tick=since, must_know=touches):
            return refused(busy)
        self.ran += 1
        seen = watch.card(asked.card)
        if asked.probe == "enumerate":
            found: Found | None = passive.enumerated(asked.card, seen, since_tick=since)
        elif asked.probe == "settled":
            found = self._settle(asked.card, watch)
        else:
            found = self._in_a_process(asked, seen)
        if found is None or found.outcome is not ProbeOutcome.PASSED:
            return found
        if came := watch.work_on(asked.card, since_tick=since, must_know=touches):
            return replace(found, outcome=ProbeOutcome.REFUSED, reason=f"work came while it ran: {came}")
        return found

    def _fresh(self, card_id: str, since: int) -> bool:
        """Wait for a reading of both tiers that was begun after we were asked; whether it came."""
        watch = self.watch
        assert watch is not None
        until = monotonic() + self._fresh_seconds
        while not self._stopping and (left := until - monotonic()) > 0:
            seen = watch.card(card_id)
            if seen is not None and seen.slow_tick >= since and watch.tick > seen.slow_tick:
                return True
            watch.wait(watch.tick + 1, min(left, 1.0))
        return False

    def _settle(self, card_id: str, watch: Watch) -> Found | None:
        settling = passive.Settling(begin_tick=watch.tick)
        began = monotonic()
        while (seconds := monotonic() - began) < self._settings.settled_seconds:
            if self._stopping:
                return None
            seen = watch.card(card_id)
            ports = seen.facts.get("nearest_ports") if seen is not None else None
            names = ports if isinstance(ports, list) else []
            settling.look(seen, {name: watch.port(name) for name in names})
            if settling.trouble is not None:
                break
            watch.wait(watch.tick + 1, min(1.0, self._settings.settled_seconds - seconds))
        return settling.found(monotonic() - began)

    def _in_a_process(self, asked: AskedProbe, seen: Seen | None) -> Found | None:
        settings = self._settings
        assert seen is not None
        vendor = _text(seen.facts.get("vendor"))
        card = _card(seen)
        job = Job(
            probe=asked.probe,
            card=card,
            deadline_seconds=settings.deadline_seconds,
            nice=settings.nice,
            limits={
                "memory_bytes": settings.memory_bytes,
                "least_bytes_per_second": settings.least_bytes_per_second,
            },
        )
        if asked.probe in COMMANDS:
            command = settings.command(asked.probe, vendor)
            if command is None:
                return refused(f"[probes.{asked.probe}] names no command for {vendor}")
            told = _with_command(job, command, card)
            if isinstance(told, Found):
                return told
            job = told
        elif vendor != "nvidia":
            return refused(
                f"{asked.probe} needs the CUDA driver API; for {vendor} name a command for diagnose"
            )
        elif seen.facts.get("partition_mode") not in (None, "none"):
            return refused(
                f"the card is partitioned ({seen.facts.get('partition_mode')}): its whole is not to be had"
            )
        return self._run(job, f"ullage-probe-{asked.probe_id[:12]}")

    # ---- telling

    def _tell(self, asked: AskedProbe, found: Found) -> None:
        seen = self.watch.card(asked.card) if self.watch is not None else None
        figures: dict[str, Value] = {k: v for k, v in found.figures.items() if k not in _OURS}
        event = Event(
            time=self._clock.wall(),
            kind="probe_result",
            severity=Severity.WARNING if found.outcome is ProbeOutcome.FAILED else Severity.INFO,
            family=Family.CARD,
            subject=asked.card,
            source="agent",
            message=f"{asked.probe}: {found.reason}"[:500],
            vendor=_text(seen.facts.get("vendor")) if seen is not None else None,
            attributes={
                **figures,
                "id": asked.probe_id,
                "probe": asked.probe,
                "incident": asked.incident,
                "outcome": found.outcome.value,
            },
        )
        log.info("probe %s of %s: %s: %s", asked.probe, asked.card, found.outcome.value, found.reason)
        assert self._emit is not None
        self._emit(event, seen.origin if seen is not None else Origin.REAL)
        try:
            self._memory(None).end(asked)
        except OSError as e:
            log.error("%s cannot be written (%s): this probe may be told of twice", self._path, e)


_OURS: Final = frozenset({"id", "probe", "incident", "outcome"})


def _with_command(job: Job, command: Command, card: dict[str, str | None]) -> Job | Found:
    try:
        argv = filled(command.argv, card)
    except KeyError as e:
        return refused(f"the command wants {{{e.args[0]}}}, which the maker does not say of this card")
    return replace(
        job,
        argv=argv,
        good=command.good,
        not_run=command.not_run,
        deadline_seconds=command.deadline_seconds,
    )


def _card(seen: Seen) -> dict[str, str | None]:
    pci = _text(seen.facts.get("pci_address"))
    return {
        "card": _number(seen.facts.get("index")),
        "minor": _number(seen.facts.get("minor")),
        "pci": pci_address(pci) if pci is not None else None,
        "uuid": _text(seen.facts.get("uuid")),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
