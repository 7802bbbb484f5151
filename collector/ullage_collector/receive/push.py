"""``POST /v1/push``: one batch, checked, de-duplicated, journalled, answered. docs/interfaces.md, Wire.

A batch is checked whole before it is acknowledged (about 70 us for a node of eight cards, batch.py): what
is malformed gets its 400 while the agent still holds it, and changes nothing here. Runs in the listener's
loop; only the journal's sync happens elsewhere. Not here: HTTP (listener.py) and who speaks (identity.py).
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ullage_collector.batch import read_batch
from ullage_collector.health import Health
from ullage_collector.journal import Record
from ullage_collector.receive.commit import Committer
from ullage_collector.receive.identity import Identity, Role
from ullage_collector.receive.notices import Notices
from ullage_collector.receive.reply import Reply, answer, busy, error
from ullage_collector.receive.streams import Streams, StreamState, digest
from ullage_contract import wire
from ullage_contract.asked import AskedProbe
from ullage_contract.clock import Clock
from ullage_contract.errors import DiskFull, StoreError, WireError

log = logging.getLogger(__name__)

Respond = Callable[[Reply], None]
AskedOf = Callable[[str, str], Sequence[AskedProbe]]
"""What is asked of (cluster, node) now, at most asked.MAX_ASKED; called for every good push, so it touches no store."""
WAITING_BYTES: Final = 64 * wire.MAX_BODY_BYTES  # our choice: 256 MiB wait for the disk at most
CLOCK_WRONG_SECONDS: Final = 300.0  # docs/interfaces.md, Wire
_STATUS: Final = {"too_large": 413}


class Pressure(Protocol):
    """Says how much of a lane's journal the store has still to read."""

    def pending_bytes(self, lane: str) -> int:
        """Bytes behind the slowest consumer; a number a second old is good enough."""
        ...


@dataclass(slots=True)
class _Node:
    machine_id: str | None = None
    clock_wrong: bool = False


class Push:
    """The protocol. One instance; called from the loop's thread only.

    committers: by lane. streams: already recovered. max_pending_bytes: a lane's journal may lie so far
    ahead of its consumers before senders are told to wait. asked_of: what rides on a node's answers.
    """

    def __init__(
        self,
        *,
        committers: Mapping[str, Committer],
        streams: Streams,
        notices: Notices,
        pressure: Pressure,
        max_pending_bytes: int,
        health: Health,
        clock: Clock,
        asked_of: AskedOf = lambda cluster, node: (),
    ) -> None:
        self._asked_of = asked_of
        self._committers = committers
        self._streams = streams
        self._notices = notices
        self._pressure = pressure
        self._max_pending_bytes = max_pending_bytes
        self._health = health
        self._clock = clock
        self._nodes: dict[tuple[str, str], _Node] = {}

    def admit(self, method: bytes, headers: Mapping[bytes, bytes], identity: Identity | None) -> Reply | None:
        """The refusal that needs no body, or None: go on and read it."""
        if method != b"POST":
            return error(405, "method_not_allowed", "a batch is sent with POST", headers=(b"allow: POST",))
        if identity is None:
            return error(401, "unauthenticated", "send Authorization: Bearer TOKEN or a client certificate")
        if not identity.allows(Role.NODE):
            return error(
                403, "forbidden", f"{identity.name} has the role {identity.role}, which sends nothing"
            )
        media = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if media != wire.CONTENT_TYPE.encode():
            return error(415, "unsupported_media_type", f"Content-Type is not {wire.CONTENT_TYPE}")
        if headers.get(b"content-encoding", b"").strip().lower() != b"gzip":
            return error(415, "unsupported_media_type", "Content-Encoding is not gzip")
        length = headers.get(b"content-length")
        if length is None and headers.get(b"transfer-encoding") is None:
            return error(411, "length_required", "send Content-Length")
        if length is not None and int(length) > wire.MAX_BODY_BYTES:
            return too_large()
        return None

    def receive(
        self, headers: Mapping[bytes, bytes], body: bytes, identity: Identity, respond: Respond
    ) -> None:
        """Take a whole body; ``respond`` is called once, at once or when the batch is durable."""
        now = self._clock.wall()
        try:
            skew = _skew(headers.get(wire.SENT_AT_HEADER.lower().encode()), now)
            batch = read_batch(body)
        except WireError as e:
            respond(self._counted(_malformed(e)))
            return
        if not identity.speaks_for(batch.cluster, batch.node):
            message = f"{identity.name} does not speak for node {batch.node} of cluster {batch.cluster}"
            respond(self._counted(error(403, "forbidden", message)))
            return
        if mixed := _mixed(batch):
            respond(self._counted(error(400, "malformed", mixed)))
            return
        record = Record(
            stream=batch.stream,
            sequence=batch.sequence,
            lane=batch.lane,
            cluster=batch.cluster,
            node=batch.node,
            identity=identity.name,
            received_at_us=int(now * 1e6),
            skew_seconds=skew,
            body=body,
        )
        rows = sum(len(columns.subject) for columns in batch.families.values())
        self._take(record, rows, batch.machine_id, respond)
        if batch.unknown_metrics:
            self._health.unknown_metrics += len(batch.unknown_metrics)

    def _take(self, record: Record, rows: int, machine_id: str | None, respond: Respond) -> None:
        state = self._streams.find(record.stream)
        body_digest = digest(record.body)
        if state is not None and (reply := self._known(state, record, body_digest)) is not None:
            respond(self._counted(reply))
            return
        committer = self._committers[record.lane]
        if self._pressure.pending_bytes(record.lane) > self._max_pending_bytes:
            respond(self._counted(busy(429, "the store is behind; the batch is wanted later", _later())))
            return
        if committer.waiting_bytes + len(record.body) > WAITING_BYTES:
            respond(self._counted(busy(503, "the journal's disk is behind", 2)))
            return
        if state is None:
            state = self._streams.open(record.stream, record.lane, record.cluster, record.node)
        state.in_flight = record.sequence
        state.in_flight_digest = body_digest

        def done(failure: StoreError | None) -> None:
            state.in_flight = 0
            if failure is not None:
                respond(self._counted(_not_durable(failure)))
                return
            self._health.gaps += max(0, record.sequence - state.through - 1) if state.through else 0
            state.remember(record.sequence, body_digest)
            self._health.accepted(record.lane, len(record.body), rows, record.received_at_us / 1e6)
            self._watch(record, machine_id)
            respond(self._counted(self._answer(state, record, duplicate=False)))

        committer.submit(record, done)

    def _known(self, state: StreamState, record: Record, body_digest: int) -> Reply | None:
        """The answer to a batch of a stream seen before, when it is not simply the next one."""
        if (state.lane, state.cluster, state.node) != (record.lane, record.cluster, record.node):
            return self._conflict(
                record,
                f"stream {record.stream} is {state.lane} of {state.cluster}/{state.node}, "
                f"not {record.lane} of {record.cluster}/{record.node}",
            )
        if state.in_flight:
            if record.sequence == state.in_flight and body_digest != state.in_flight_digest:
                return self._conflict(record, f"number {record.sequence} came twice with two bodies")
            return busy(503, f"number {state.in_flight} of this stream is still being written", 1)
        if record.sequence > state.through:
            return None
        known = state.digest_of(record.sequence)
        if known and known != body_digest:
            return self._conflict(record, f"number {record.sequence} came twice with two bodies")
        self._health.duplicates += 1
        return self._answer(state, record, duplicate=True)

    def _conflict(self, record: Record, message: str) -> Reply:
        self._notices.tell(record.cluster, record.node, "identity_conflict", record.stream, message)
        return error(409, "sequence_conflict", message)

    def _answer(self, state: StreamState, record: Record, *, duplicate: bool) -> Reply:
        return answer(
            wire.Answer(
                stream=record.stream,
                accepted_through=state.through,
                durable_through=state.through,
                duplicate=duplicate,
                clock_skew_seconds=record.skew_seconds,
                asked=self._asked_of(record.cluster, record.node),
            ).to_json()
        )

    def _watch(self, record: Record, machine_id: str | None) -> None:
        """Tell what the fault engine should know of the sender itself."""
        node = self._nodes.setdefault((record.cluster, record.node), _Node())
        if machine_id is not None:
            if node.machine_id is not None and node.machine_id != machine_id:
                self._notices.tell(
                    record.cluster,
                    record.node,
                    "identity_conflict",
                    "machine_id",
                    f"two machines under one name: machine-id {node.machine_id} before, {machine_id} now; "
                    "give one of them another node name, or ignore this once after a reinstallation",
                )
            node.machine_id = machine_id
        if record.clock_wrong and not node.clock_wrong:
            self._notices.tell(
                record.cluster,
                record.node,
                "clock_wrong",
                "",
                f"the node's clock is {record.skew_seconds:+.0f} s off; its rows are stored by the "
                "collector's clock",
            )
        node.clock_wrong = record.clock_wrong

    def _counted(self, reply: Reply) -> Reply:
        self._health.answers[reply.status] = self._health.answers.get(reply.status, 0) + 1
        return reply


def too_large() -> Reply:
    """413, and the connection ends: the rest of the body is not read."""
    message = f"the body has more than {wire.MAX_BODY_BYTES} bytes"
    return error(413, "too_large", message, close=True)


def _malformed(e: WireError) -> Reply:
    return error(_STATUS.get(e.code, 400), e.code, str(e))


def _not_durable(e: StoreError) -> Reply:
    if isinstance(e, DiskFull):
        return error(507, "disk_full", "the collector's disk is full; the batch was not taken")
    return error(
        503, "busy", "the batch could not be written; it was not taken", headers=(b"retry-after: 5",)
    )


def _mixed(batch: wire.ColumnarBatch) -> str | None:
    if batch.lane == "samples" and batch.events:
        return "events travel in the lane events"
    if batch.lane == "events" and any(columns.subject for columns in batch.families.values()):
        return "samples travel in the lane samples"
    return None


def _skew(header: bytes | None, now: float) -> float | None:
    """The sender's clock minus ours, seconds; None when it did not say. Raises WireError."""
    if header is None:
        return None
    try:
        sent_at = float(header)
    except ValueError:
        sent_at = math.nan
    if not 0 <= sent_at < 1e11:
        raise WireError(f"{wire.SENT_AT_HEADER} is not seconds since the epoch")
    return round(sent_at - now, 3)


def _later() -> int:
    """Seconds until a refused sender comes again; spread, so that they do not come together."""
    return 5 + secrets.randbelow(11)
