"""Everything the agent gives out, made from its settings: push, Prometheus, OTLP.

The one place that knows which of them are on, so that what is not configured is not imported. Not here:
what they do.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ullage_agent.config import Config
from ullage_agent.outputs.batches import Sender
from ullage_agent.outputs.latest import Latest
from ullage_agent.outputs.push_sink import LaneStatus, PushSink
from ullage_agent.sink import Sink
from ullage_contract.clock import Clock
from ullage_contract.errors import ConfigError
from ullage_contract.wire import PUSH_PATH

if TYPE_CHECKING:  # the sender is imported only where something is pushed
    from ullage_agent.outputs.push import OnAsked

log = logging.getLogger(__name__)

EVENTS_SHARE: Final = (
    0.125  # our choice: an eighth of the spool's bytes, because events are small and precious
)
MAX_EVENT_BATCHES: Final = 100_000  # our choice: because five a second for five hours is a storm, not news


class _Door(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


class Outputs:
    """``sinks`` are for the sampler; ``start`` begins their threads, ``close`` ends everything, last of all.

    push: for the node's own metrics and ``check``; None when nothing is pushed. port: where /metrics
    is served, None when it is not.
    """

    def __init__(
        self, sinks: tuple[Sink, ...], doors: tuple[_Door, ...], push: PushSink | None, port: int | None
    ) -> None:
        self.sinks = sinks
        self.push = push
        self.port = port
        self._doors = doors

    def start(self) -> None:
        if self.push is not None:
            self.push.start()
        for door in self._doors:
            door.start()

    def close(self) -> None:
        """Never raises. Closes the sinks, too."""
        parts: list[_Door | Sink] = [*self._doors, *self.sinks]
        for part in parts:
            try:
                part.close()
            except Exception:
                log.exception("%s did not close cleanly", type(part).__name__)

    @property
    def spool_bytes(self) -> int:
        """The node metric: what waits on disk; 0 when nothing is pushed."""
        return self.push.spool_bytes if self.push is not None else 0

    @property
    def spool_dropped_batches(self) -> int:
        """The node metric: batches dropped at the bound since the agent started."""
        return self.push.dropped_batches if self.push is not None else 0


def outputs(
    config: Config,
    *,
    clock: Clock,
    machine_id: str | None = None,
    boot_id: str | None = None,
    health: Callable[[], tuple[bool, str]] | None = None,
    on_asked: OnAsked | None = None,
) -> Outputs:
    """What ``config`` switches on. health: for /healthz: whether all is well, and one line about it.
    on_asked: told what the answers to our pushes ask, by the senders' threads.

    Raises ConfigError for a URL, file or address that cannot be used.
    """
    sinks: list[Sink] = []
    doors: list[_Door] = []
    push = None
    lanes: Callable[[], tuple[LaneStatus, ...]] | None = None
    port = None
    if config.push.url is not None:
        push = _push(config, clock, Sender(config.cluster, config.node, machine_id, boot_id), on_asked)
        sinks.append(push)
        lanes = push.status
    if config.metrics.listen is not None or config.otlp.endpoint is not None:
        latest = Latest(clock)
        sinks.append(latest)
        if config.metrics.listen is not None:
            from ullage_agent.outputs.http_door import HttpDoor
            from ullage_agent.outputs.prometheus import Exposition

            exposition = Exposition(latest, cluster=config.cluster, node=config.node, lanes=lanes)
            door = HttpDoor(exposition, listen=config.metrics.listen, health=health)
            port = door.port
            doors.append(door)
        if config.otlp.endpoint is not None:
            doors.append(_otlp(config, clock, latest, machine_id))
    return Outputs(tuple(sinks), tuple(doors), push, port)


def _push(config: Config, clock: Clock, sender: Sender, on_asked: OnAsked | None) -> PushSink:
    from ullage_agent.outputs.push import MAX_EVENTS_PAUSE_SECONDS, Pusher
    from ullage_agent.outputs.quarantine import Quarantine
    from ullage_agent.outputs.spool import Spool
    from ullage_agent.outputs.transport import Endpoint, HttpTransport

    settings = config.push
    assert settings.url is not None
    endpoint = Endpoint(
        url=settings.url.rstrip("/") + PUSH_PATH,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
        cert_file=settings.certificate_file,
        key_file=settings.key_file,
        timeout_seconds=settings.timeout_seconds,
    )
    quarantine = Quarantine(config.agent_dir / "quarantine", max_bytes=config.spool.quarantine_bytes)
    parts: list[PushSink] = []
    for_events = int(config.spool.max_bytes * EVENTS_SHARE)
    samples = Spool(
        config.agent_dir / "spool" / "samples",
        lane="samples",
        quarantine=quarantine,
        max_batches=math.ceil(config.spool.max_age_seconds / settings.batch_seconds),
        max_bytes=config.spool.max_bytes - for_events,
        on_drop=lambda count: parts[0].dropped(count),
    )
    events = Spool(
        config.agent_dir / "spool" / "events",
        lane="events",
        quarantine=quarantine,
        max_batches=MAX_EVENT_BATCHES,
        max_bytes=for_events,
        on_drop=lambda count: parts[0].dropped(count),
    )
    events_pusher = Pusher(
        events,
        HttpTransport(endpoint),
        clock=clock,
        newest_first=True,
        max_pause_seconds=min(settings.retry_max_seconds, MAX_EVENTS_PAUSE_SECONDS),
        on_conflict=lambda *what: parts[0].conflict(*what),
        on_asked=on_asked,
        chance=random.Random(),
    )
    samples_pusher = Pusher(
        samples,
        HttpTransport(endpoint),
        clock=clock,
        max_pause_seconds=settings.retry_max_seconds,
        yield_to=events_pusher,
        on_conflict=lambda *what: parts[0].conflict(*what),
        on_asked=on_asked,
    )
    push = PushSink(
        sender=sender,
        samples=samples,
        events=events,
        samples_pusher=samples_pusher,
        events_pusher=events_pusher,
        clock=clock,
        batch_seconds=settings.batch_seconds,
    )
    parts.append(push)
    return push


def _otlp(config: Config, clock: Clock, latest: Latest, machine_id: str | None) -> _Door:
    from ullage_agent.outputs.otlp import OtlpExporter
    from ullage_agent.outputs.transport import Endpoint, HttpTransport

    settings = config.otlp
    assert settings.endpoint is not None
    path = settings.endpoint.partition("://")[2].partition("/")[2]
    # As OTEL_EXPORTER_OTLP_ENDPOINT: a base URL gets the signal's path, a URL with a path is taken as it is.
    url = settings.endpoint if path else f"{settings.endpoint.rstrip('/')}/v1/metrics"
    endpoint = Endpoint(
        url=url,
        ca_file=settings.ca_file,
        headers=_headers(settings.headers_file),
        timeout_seconds=settings.timeout_seconds,
    )
    return OtlpExporter(
        latest,
        HttpTransport(endpoint),
        clock=clock,
        cluster=config.cluster,
        node=config.node,
        machine_id=machine_id,
        interval_seconds=settings.interval_seconds,
    )


def _headers(path: Path | None) -> dict[str, str]:
    """``name: value`` lines. Raises ConfigError; never with a value in its message."""
    if path is None:
        return {}
    headers = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"[otlp] headers_file {path}: cannot be read: {e}") from e
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"{path}: line {number}: write “name: value”")
        headers[name.strip()] = value.strip()
    return headers
