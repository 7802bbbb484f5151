"""What the API, the pages and /metrics say of isolations and the emergency stop, and the acts of operators.

Not here: pages (console/), deciding (policy.py), stopping (freeze.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.routing import Route

from ullage_collector.api import SCHEMA_VERSION, Answer, actor_of, endpoint
from ullage_collector.audit import naive_utc
from ullage_collector.isolate.intent import FOR_PERSON, PERSON, STANDS, Intent, State
from ullage_collector.receive.identity import Identity, Role
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.api import Views
    from ullage_collector.isolate.assembly import Assembly

MAX_INTENTS: Final = 5_000  # our choice: because nobody reads more; the audit has all
Act = Callable[["Assembly", str, dict[str, Any]], dict[str, Any]]


def listing(views: Views, *, ended: bool = False) -> dict[str, Any]:
    """Every isolation in force, every live intent with its age, owner and exit, and whether all is frozen.

    ended: also the newest intents that have ended. Ages in seconds; None: not so.
    """
    from ullage_collector import api

    acting = views.acting
    rows = api.select(views, "policy", "intents", [ended, MAX_INTENTS])
    now = naive_utc(views.clock.wall())
    for row in rows:
        row["calls"] = json.loads(row["calls"]) if row["calls"] else None
        row["age_seconds"] = (now - row["decided_at"]).total_seconds()
        row["owner"] = row["approved_by"] or row["requested_by"]
        row["exit"] = exit_of(row)
        row["follows"] = []
    of_intent = {row["intent_id"]: row for row in rows}
    for found in api.select(views, "follow", "of_intents", [list(of_intent)]):
        found["call"] = json.loads(found["call"]) if found["call"] else None
        of_intent[found["intent_id"]]["follows"].append(found)
    return {
        "schema_version": SCHEMA_VERSION,
        "isolations": api.select(views, "isolation", "list_isolations", []),
        "intents": rows,
        "freeze": acting.freeze.word.to_json() if acting and acting.freeze.word else None,
        "breaker": dict(acting.policy.breaker.open()) if acting else {},
    }


EXITS: Final[Mapping[str, str]] = {
    "ended": "{said}",
    "asked": "approve or deny until {until}",
    "probation": "probation ends {until}",
    "until": "released at {until}",
    "person": "a person releases it",
    "probe": "a person releases it: {said}",
    "others": "whoever took it over gives it back",
    "incidents": "incident {incidents} ends",
    "incidents_reset": "incident {incidents} ends and reset is done",
    "incidents_reboot": "incident {incidents} ends and reboot is done",
    "incidents_replace": "incident {incidents} ends and replace is done",
    "back": "its incidents have ended: it is on its way back",
    "withdrawn": "it is withdrawn next",
}
"""Every way out and its sentence; the console has the same in each language."""


def exit_of(row: Mapping[str, Any], sentences: Mapping[str, str] = EXITS) -> str:
    """How this one ends, in words: every isolation has a way out."""
    until = row["expires_at"]
    incidents = ", ".join(str(number) for number in row["open_incidents"] or ())
    return sentences[_way_out(row)].format(
        said=row["held_back"] or row["state"],
        until="" if until is None else f"{until:%Y-%m-%d %H:%M} UTC",
        incidents=incidents,
    )


def _way_out(row: Mapping[str, Any]) -> str:
    state = State(row["state"])
    if row["closed_at"] is not None:
        return "ended"
    if state in (State.ASKED, State.PROBATION):
        return state.value
    if state in STANDS and row["expires_at"] is not None:
        return "until"
    if state in STANDS and (row["mode"] == PERSON or row["follow"] == "replace"):
        return "person"
    if state in STANDS and (row["held_back"] or "").startswith(FOR_PERSON):
        return "probe"
    if state is State.OTHERS:
        return "others"
    if row["open_incidents"]:
        return "incidents" if row["follow"] == "none" else f"incidents_{row['follow']}"
    return "back" if state in STANDS else "withdrawn"


def of_incident(views: Views, incident_id: int) -> list[dict[str, Any]]:
    """The intents of one incident as ``listing`` shows them."""
    from ullage_collector import api

    numbers = {row["intent_id"] for row in api.select(views, "policy", "intents_of", [incident_id])}
    return [row for row in listing(views, ended=True)["intents"] if row["intent_id"] in numbers]


def routes(assembly: Assembly) -> list[Route]:
    """POST freeze, unfreeze, approve, deny, follow below /api/v1, for operators."""
    acts: dict[str, Act] = {
        "freeze": freeze,
        "unfreeze": unfreeze,
        "approve": approve,
        "deny": deny,
        "follow": follow,
    }
    return [
        Route(f"/api/v1/{name}", endpoint(Role.OPERATOR, _acting(assembly, act)), methods=["POST"])
        for name, act in acts.items()
    ]


def _acting(assembly: Assembly, act: Act) -> Answer:
    def answer(request: Request, identity: Identity, body: dict[str, Any]) -> dict[str, Any]:
        return act(assembly, actor_of(body, identity), body)

    return answer


def freeze(assembly: Assembly, actor: str, body: dict[str, Any]) -> dict[str, Any]:
    """Stop every action; what was planned is advice from now on. Raises BadInput without a reason."""
    word = assembly.freeze.freeze(reason=str(body.get("reason", "")), actor=actor)
    stopped = assembly.policy.stop_planned()
    return {"schema_version": SCHEMA_VERSION, **word.to_json(), "stopped": stopped}


def unfreeze(assembly: Assembly, actor: str, body: dict[str, Any]) -> dict[str, Any]:
    """Allow actions again. Raises BadInput when nothing is frozen, or without a reason."""
    word = assembly.freeze.unfreeze(reason=str(body.get("reason", "")), actor=actor)
    assembly.policy.woken.set()
    return {"schema_version": SCHEMA_VERSION, **word.to_json(), "stopped": 0}


def approve(assembly: Assembly, actor: str, body: dict[str, Any]) -> dict[str, Any]:
    """Confirm what is proposed for an incident. Raises BadInput when it cannot be."""
    digest = body.get("digest")
    intent = assembly.policy.approve(
        _incident(body), actor=actor, digest=str(digest) if digest is not None else None
    )
    return _decided(intent)


def deny(assembly: Assembly, actor: str, body: dict[str, Any]) -> dict[str, Any]:
    """Say no to what is proposed for an incident. Raises BadInput when there is nothing, or without a reason."""
    return _decided(assembly.policy.deny(_incident(body), actor=actor, reason=str(body.get("reason", ""))))


def follow(assembly: Assembly, actor: str, body: dict[str, Any]) -> dict[str, Any]:
    """Have what follows an incident (reset, reboot, replacement) run now. Raises BadInput when it cannot be."""
    return _decided(assembly.lifecycle.following.approve(_incident(body), actor=actor))


def _incident(body: dict[str, Any]) -> int:
    number = body.get("incident")
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadInput(f"incident: {number!r} is no incident's number; GET /api/v1/incidents lists them")
    return number


def _decided(intent: Intent) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "intent": intent.intent_id,
        "incident": intent.incident_id,
        "subject": intent.subject,
        "node": intent.node_id,
        "state": intent.state.value,
        "actuator": intent.actuator,
        "calls": list(intent.calls or ()),
        "held_back": intent.held_back,
    }


def exposition(assembly: Assembly) -> str:
    """Lines for /metrics: isolations by mode and state, frozen, stopped rules. Raises nothing: absent, not wrong."""
    try:
        counts = assembly.book.read("counts")
        follows = assembly.book.read("counts", file="follow")
    except Exception:
        return ""
    lines = [
        "# HELP ullage_isolations isolations by mode and state, also those only shown",
        "# TYPE ullage_isolations gauge",
    ]
    lines += [f'ullage_isolations{{mode="{mode}",state="{state}"}} {count}' for mode, state, count in counts]
    lines += [
        "# HELP ullage_isolation_frozen 1 while the emergency stop is on",
        "# TYPE ullage_isolation_frozen gauge",
        f"ullage_isolation_frozen {int(assembly.freeze.frozen)}",
        "# HELP ullage_isolation_breaker_seconds how long a rule is still stopped, as many nodes showed it at once",
        "# TYPE ullage_isolation_breaker_seconds gauge",
    ]
    for rule, left in sorted(assembly.policy.breaker.open().items()):
        escaped = rule.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'ullage_isolation_breaker_seconds{{rule="{escaped}"}} {left:.0f}')
    lines += [
        "# HELP ullage_isolation_verdicts_total verdicts considered, and those that were the same or late",
        "# TYPE ullage_isolation_verdicts_total counter",
        f'ullage_isolation_verdicts_total{{outcome="considered"}} {assembly.policy.considered}',
        f'ullage_isolation_verdicts_total{{outcome="ignored"}} {assembly.policy.ignored}',
        "# HELP ullage_isolation_follows resets, reboots and replacements by what became of them",
        "# TYPE ullage_isolation_follows gauge",
    ]
    lines += [
        f'ullage_isolation_follows{{follow="{what}",state="{state}"}} {n}' for what, state, n in follows
    ]
    return "\n".join(lines) + "\n"
