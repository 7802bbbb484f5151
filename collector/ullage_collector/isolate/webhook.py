"""One HTTP POST to a site's own service: for ticket systems, robots and schedulers we do not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ullage_collector.isolate.actuator import HttpCall, Plan, Target
from ullage_contract.errors import ActuatorError, ConfigError


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs ``{"action": "isolate"|"release", "target": {...}}`` to ``url``; the token is never shown."""

    url: str
    whole_node: bool
    token: str | None = field(repr=False)
    name: str = "webhook"

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

    def _call(self, action: str, target: Target) -> HttpCall:
        if not self.url:
            raise ActuatorError("[isolation.webhook]: url is not set")
        body = json.dumps(
            {"schema_version": 1, "action": action, "target": asdict(target)}, ensure_ascii=False
        )
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return HttpCall(method="POST", url=self.url, body=body, secret_headers=headers)


def actuator(settings: Mapping[str, Any]) -> Webhook:
    """From [isolation.webhook]: url, token_file, whole_node."""
    if stray := set(settings) - {"url", "token_file", "whole_node"}:
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
    return Webhook(url=url, whole_node=bool(settings.get("whole_node", False)), token=token)
