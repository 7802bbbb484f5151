"""``ullage-agent run``: the loop, the signals, the lock. SIGTERM and SIGINT end it, SIGHUP reloads between ticks.

Signals only set a flag and wake the loop; nothing is done inside a handler. Not here: what a tick does.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, time
from types import FrameType
from typing import IO, Final

from ullage_agent.assembly import Agent
from ullage_agent.config import Config
from ullage_agent.notify import ServiceNotifier
from ullage_agent.outputs.wiring import Outputs, outputs
from ullage_agent.probes.desk import Desk
from ullage_agent.sampler import Tick
from ullage_agent.schedule import Schedule
from ullage_agent.state import FILE_NAME, StateFile
from ullage_contract import __version__
from ullage_contract.clock import Clock
from ullage_contract.errors import ConfigError
from ullage_contract.identity import boot_id, machine_id

log = logging.getLogger(__name__)
HEALTHY_TICKS: Final = 3  # our choice: as check's staleness; a probe must not kill an agent for one slow tick


class WakingClock:
    """The machine's clock whose sleep a signal ends: a byte in a pipe, written by the interpreter itself."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    @property
    def wakeup_fd(self) -> int:
        """For signal.set_wakeup_fd."""
        return self._write

    def wall(self) -> float:
        return time()

    def monotonic(self) -> float:
        return monotonic()

    def sleep(self, seconds: float) -> None:
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 512)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class Daemon:
    """The loop. clock is a WakingClock in life and a ManualClock in tests; ``stop`` and ``reload`` may be
    called from anywhere."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        load: Callable[[], Config],
        root: Path = Path("/"),
        notifier: ServiceNotifier | None = None,
        wake: Callable[[], None] = lambda: None,
        make_agent: Callable[..., Agent] = Agent,
    ) -> None:
        self._config = config
        self._clock = clock
        self._load = load
        self._root = root
        self._notifier = notifier or ServiceNotifier()
        self._wake = wake
        self._make_agent = make_agent
        self._stop = self._reload = False
        self._last_tick_at: float | None = None
        self._last_success = False
        self._lock = threading.Lock()
        self.ticks = 0

    def stop(self) -> None:
        """End after the running tick."""
        self._stop = True
        self._wake()

    def reload(self) -> None:
        """Read the settings anew after the running tick."""
        self._reload = True
        self._wake()

    def run(self) -> None:
        """Until ``stop``. Raises ConfigError when the first settings cannot be put to work."""
        agent, out = self._assemble(self._config)
        agent.say_started()
        try:
            while not self._stop:
                schedule = self._schedule()
                self._loop(agent, schedule)
                if self._reload and not self._stop:
                    self._reload = False
                    agent, out = self._reloaded(agent, out)
        finally:
            self._notifier.stopping()
            self._desk.close()
            agent.close()
            out.close()

    def health(self) -> tuple[bool, str]:
        """For /healthz: ticks come, and something could be read. From any thread."""
        with self._lock:
            at, success = self._last_tick_at, self._last_success
        if at is None:
            return True, "starting"
        age = self._clock.monotonic() - at
        if age > HEALTHY_TICKS * self._config.sampling.fast_seconds:
            return False, f"the last tick was {age:.0f} s ago"
        return (True, f"ok, {self.ticks} ticks") if success else (False, "no source can be read")

    def _schedule(self) -> Schedule:
        sampling = self._config.sampling
        return Schedule(self._clock, self._config.node, sampling.fast_seconds, sampling.slow_seconds)

    def _loop(self, agent: Agent, schedule: Schedule) -> None:
        while not (self._stop or self._reload):
            wait = schedule.wait_seconds()
            if wait > 0:
                self._clock.sleep(wait)
                continue
            tick = agent.tick(schedule.take())
            self.ticks += 1
            with self._lock:
                self._last_tick_at = self._clock.monotonic()
                self._last_success = any(r.success for r in tick.reports) or not tick.reports
            if self.ticks == 1:
                gc.collect()
                gc.freeze()  # what is loaded stays; collections need not walk it
                self._notifier.ready()
            self._notifier.alive(_status(tick))

    def _assemble(self, config: Config) -> tuple[Agent, Outputs]:
        boot = boot_id(self._root)
        desk = _desk(config, self._clock)
        out = outputs(
            config,
            clock=self._clock,
            machine_id=machine_id(self._root),
            boot_id=boot,
            health=self.health,
            on_asked=desk.asked,
        )
        try:
            state = StateFile(
                config.agent_dir / FILE_NAME,
                node_id=config.node,
                clock=self._clock,
                boot_id=boot,
                fast_seconds=config.sampling.fast_seconds,
                slow_seconds=config.sampling.slow_seconds,
            )
            agent = self._make_agent(
                config,
                self._clock,
                root=self._root,
                sinks=[*out.sinks, state, *([desk.watch] if desk.watch is not None else [])],
                outputs=out,
                kernel_log_state=config.agent_dir / "kernel_log.json",
            )
            desk.start(agent.sampler.emit, agent.sampler.ask_facts)
            self._desk = desk
            out.start()
        except BaseException:
            desk.close()
            out.close()
            raise
        return agent, out

    def _reloaded(self, agent: Agent, out: Outputs) -> tuple[Agent, Outputs]:
        """New settings where they can be used, else the old ones again."""
        self._notifier.reloading(self._clock.monotonic())
        try:
            fresh = self._load()
        except ConfigError as e:
            log.error("the settings stay as they were: %s", e)
            fresh = self._config
        if fresh == self._config:
            log.info("settings are the same; hardware and facts are looked at anew")
            agent.look_again()
            agent.sampler.ask_facts()
            self._notifier.ready()
            return agent, out
        if fresh.data != self._config.data:
            log.error("--data cannot be changed by a reload; restart the agent")
            self._notifier.ready()
            return agent, out
        self._desk.close()
        agent.close()
        out.close()
        try:
            made = self._assemble(fresh)
            self._config = fresh
            log.info("new settings are in force")
        except ConfigError as e:
            log.error("the new settings cannot be used, the old ones are in force again: %s", e)
            made = self._assemble(self._config)
        self._notifier.ready()
        return made


def run(config: Config, *, load: Callable[[], Config]) -> int:
    """The command. 0 when it was ended by a signal.

    Raises ConfigError when another agent holds the data directory or the settings cannot be used.
    """
    clock = WakingClock()
    with lock(config.agent_dir):
        daemon = Daemon(config, clock=clock, load=load, wake=clock.wake)
        before = signal.set_wakeup_fd(clock.wakeup_fd, warn_on_full_buffer=False)

        def on_signal(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGHUP:
                daemon.reload()
            else:
                daemon.stop()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, on_signal)
        log.info("ullage-agent %s on %s, data in %s", __version__, config.node, config.agent_dir)
        try:
            daemon.run()
        finally:
            signal.set_wakeup_fd(before)
    log.info("ended")
    return 0


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[IO[str]]:
    """Hold DIR/agent/lock; a second agent on one directory would send one stream twice.

    Raises ConfigError when it is held or the directory cannot be made.
    """
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        file = (directory / "lock").open("a+", encoding="ascii")
    except OSError as e:
        raise ConfigError(f"{directory}: {e.strerror}; give another place with --data DIR") from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            file.seek(0)
            holder = file.read(20).strip() or "?"
            raise ConfigError(f"{directory} is in use by the agent with pid {holder}") from e
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file


def _desk(config: Config, clock: Clock) -> Desk:
    """It answers what is asked, also where no probe is enabled: then with a refusal."""
    sampling = config.sampling
    return Desk(
        config.probes,
        cluster=config.cluster,
        node=config.node,
        folder=config.agent_dir,
        # two slow ticks, as the first may have begun before the ask, and what a maker's child needs to start
        fresh_seconds=2 * sampling.slow_seconds
        + sampling.tick_budget_seconds
        + sampling.start_deadline_seconds,
        clock=clock,
    )


def _status(tick: Tick) -> str:
    cards = sum(1 for s in tick.every() if s.family.value == "card")
    failing = [r.name for r in tick.reports if not r.success]
    text = f"{cards} cards, tick {tick.duration_seconds:.2f} s"
    return f"{text}; cannot read {', '.join(failing)}" if failing else text
