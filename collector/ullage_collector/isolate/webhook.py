"""One HTTP POST to a site's own service: for ticket systems, robots and schedulers we do not know.

The service has to be idempotent: after a crash the same POST may come again.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ullage_collector.isolate.actuator import CALL_TIMEOUT_SECONDS, HttpCall, Plan, Standing, Target
from ullage_contract.errors import ActuatorError, ConfigError

MAX_ANSWER_BYTES = 64 * 1024  # our choice: because the answer is one word


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs ``{"action": "isolate"|"release"|"standing", "target": {...}}`` to ``url``; the token is never shown.

    asks: the service also answers action standing with ``{"standing": WORD}``, a word of Standing.
    """

    url: str
    whole_node: bool
    token: str | None = field(repr=False)
    asks: bool = False
    name: str = "webhook"

    @property
    def verifies(self) -> bool:
        """Whether the service says what stands."""
        return self.asks

    def plan_isolate(self, target: Target) -> Plan:
        """One POST with action isolate."""
        return Plan(
            actuator=self.name,
            calls=(self._call("isolate", target),),
            undo=(self._call("release", target),),
            whole_node=self.whole_node,
        )

    def plan_release(self, target: Target) -> Plan:
        """One POST with action release."""
        return Plan(
            actuator=self.name, calls=(self._call("release", target),), undo=(), whole_node=self.whole_node
        )

    def standing(self, target: Target) -> Standing:
        """What the service answers to action standing; UNKNOWN when it is not asked or does not say."""
        if not self.asks or not self.url:
            return Standing.UNKNOWN
        call = self._call("standing", target)
        request = urllib.request.Request(
            call.url,
            data=call.body.encode("utf-8"),
            method="POST",
            headers={"Content-Type": "application/json", **call.secret_headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_SECONDS) as answer:
                return Standing(json.loads(answer.read(MAX_ANSWER_BYTES))["standing"])
        except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
            return Standing.UNKNOWN

    def _call(self, action: str, target: Target) -> HttpCall:
        if not self.url:
            raise ActuatorError("[isolation.webhook]: url is not set")
        body = json.dumps(
            {"schema_version": 1, "action": action, "target": asdict(target)}, ensure_ascii=False
        )
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return HttpCall(method="POST", url=self.url, body=body, secret_headers=headers)


def actuator(settings: Mapping[str, Any]) -> Webhook:
    """From [isolation.webhook]: url, token_file, whole_node, standing = the service answers that action."""
    if stray := set(settings) - {"url", "token_file", "whole_node", "standing"}:
        raise ConfigError(f"[isolation.webhook]: unknown key {sorted(stray)[0]}")
    url = str(settings.get("url", ""))
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"[isolation.webhook] url: {url[:80]!r} is neither http:// nor https://")
    token = None
    if file := settings.get("token_file"):
        try:
            token = Path(str(file)).read_text(encoding="utf-8").strip()
        except OSError as e:
            raise ConfigError(f"[isolation.webhook] token_file: {file}: {e.strerror}") from e
    return Webhook(
        url=url,
        whole_node=bool(settings.get("whole_node", False)),
        token=token,
        asks=bool(settings.get("standing", False)),
    )
