"""One write that ends in the state it was meant for: sent, and on a doubt read again before it is sent again.

A stale version (409), a lost connection and a busy server all lead back to reading: what is still to be done is
worked out from what stands now, so a write is never repeated blindly and nobody's change is overwritten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.allocation.kubernetes.client import ApiError, Busy, Document, Unreachable
from ullage_collector.isolate.actuator import CALL_TIMEOUT_SECONDS, Run
from ullage_collector.isolate.kubernetes_api import Api, ApiCall, Conflict
from ullage_contract.errors import ActuatorError

log = logging.getLogger(__name__)

_PAUSES: Final = (0.02, 0.1, 0.3, 1.0, 2.0, 4.0)
"""Our choice: because a conflict with a heartbeat is over at once and a server that is restarted within seconds."""


@dataclass(frozen=True, slots=True)
class Write:
    """A Procedure of one write.

    shown: as it will be sent if nothing changes until then. again: what is to be sent as things stand now, None when
    they stand as meant; raises ActuatorError when others took it. look_first: begin with ``again``, for a plan kept
    for later. accept: looks at the answer and raises ActuatorError when it is not what was meant.
    needed: False for what only tells people: its failure is a line of the result and stops nothing.
    """

    api: Api
    what: str
    shown: ApiCall
    again: Callable[[], ApiCall | None] = field(repr=False)
    look_first: bool = False
    accept: Callable[[Document], None] | None = field(default=None, repr=False)
    needed: bool = True

    def to_json(self) -> dict[str, Any]:
        return self.shown.to_json()

    def __str__(self) -> str:
        return str(self.shown)

    def run(self, run: Run) -> list[str]:
        """Send it. Raises ActuatorError when it did not come to stand, unless it is not ``needed``."""
        try:
            return [self._sent()]
        except ActuatorError as e:
            if self.needed:
                raise
            log.warning("%s: not done: %s", self.what, e)
            return [f"{self.what}: not done: {e}"]

    def _sent(self) -> str:
        call: ApiCall | None = None if self.look_first else self.shown
        ends = self.api.clock.monotonic() + CALL_TIMEOUT_SECONDS
        for pause in (*_PAUSES, None):
            try:
                if call is None:
                    call = self.again()
                if call is None:
                    return f"{self.what}: stands as meant already"
                answer = self.api.send(call)
                if self.accept is not None:
                    self.accept(answer)
                return f"{self.what}: done"
            except (Conflict, Unreachable, Busy) as e:
                failed, call = e, None
                wait = max(pause or 0.0, (e.retry_seconds or 0.0) if isinstance(e, Busy) else 0.0)
            except ApiError as e:
                raise ActuatorError(f"{self.what}: {e}") from e
            if pause is None or self.api.clock.monotonic() + wait >= ends:
                break
            self.api.clock.sleep(wait)
        raise ActuatorError(f"{self.what}: {failed}") from failed
