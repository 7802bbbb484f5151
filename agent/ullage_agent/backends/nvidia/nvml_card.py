"""One NVIDIA card: which sources it has, and one reading of it.

What a card answers "not supported" is not asked again until its facts are asked for anew; what hung or
failed is *failed* with its reason and tried again. Not here: which cards there are (nvml).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ullage_agent.backend import Call, Reading
from ullage_agent.backends.nvidia import nvml_gpm
from ullage_agent.backends.nvidia.nvml_fields import Field, FieldBatch
from ullage_agent.backends.nvidia.nvml_health import SIGNALS, verdict
from ullage_agent.backends.nvidia.nvml_library import GPU_IS_LOST, Library, ResetRequired
from ullage_agent.backends.nvidia.nvml_metrics import CALLS, FIELDS, INSTEAD, CallSource, FieldSource
from ullage_contract import catalogue
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotSupported, ReadingError
from ullage_contract.sample import Family, Value

_MOST_LINKS: Final = 72  # NVL72's Rubin has 36; twice that bounds the search
_RESETS: Final = frozenset({"reset", "drain_and_reset", "bus_reset"})


@dataclass(slots=True)
class _Slot:
    """A value group's sources, best first; ``at`` is the one in use. worked: it gave a value before."""

    sources: tuple[CallSource, ...]
    at: int = 0
    worked: bool = False

    @property
    def source(self) -> CallSource | None:
        return self.sources[self.at] if self.at < len(self.sources) else None


class Card:
    """Made when the card is first seen; ``probe`` learns what it can."""

    def __init__(self, library: Library, handle: Any, card_id: str) -> None:
        self._library = library
        self.handle = handle
        self.card_id = card_id
        self.mig = False
        self._slots: list[_Slot] = []
        self._fields: dict[Tier, list[FieldSource]] = {}
        self._batches: dict[Tier, FieldBatch] = {}
        self._fields_known = False
        self._links: int | None = 0
        self._gpm: nvml_gpm.Gpm | None = None
        self._gpm_known = False
        self._given: set[str] = set()
        self._slow_signals: dict[str, Value] = {}
        self._forget()

    def _forget(self) -> None:
        self._slots = [_Slot(sources) for sources in CALLS]
        self._fields_known = False
        self._batches = {}
        self._links = 0
        self._given = set()

    # ---- what the card can

    def probe(self, call: Call) -> Reading:
        """Ask for everything once, so that ``unsupported`` is known. Raises CardLost.

        Metrics that fail for another reason count as supported: they are tried again. GPM is only begun:
        its values cover the time from here to the next reading.
        """
        self.close()
        self._forget()
        return self._read(Tier.SLOW, call, begin_gpm=True)

    def unsupported(self) -> list[str]:
        """Catalogue keys that no source of this card gives, sorted. ``processes`` is not asked here."""
        return sorted(set(catalogue.keys(Family.CARD)) - self._given)

    def close(self) -> None:
        if self._gpm is not None:
            self._gpm.close()
            self._gpm = None
        self._gpm_known = False

    # ---- one reading

    def read(self, tier: Tier, call: Call) -> Reading:
        """FAST reads fast metrics only; SLOW all. Raises CardLost."""
        return self._read(tier, call, begin_gpm=False)

    def _read(self, tier: Tier, call: Call, *, begin_gpm: bool) -> Reading:
        values: dict[str, Value] = {}
        failed: dict[str, str] = {}
        reset = False
        for slot in self._slots:
            source = slot.source
            if source is None or (tier is Tier.FAST and source.tier is Tier.SLOW):
                continue
            reset |= self._ask(slot, call, values, failed)
        if tier is Tier.SLOW:
            reset |= self._read_links(call, values, failed)
        reset |= self._read_fields(tier, call, values, failed)
        self._read_gpm(call, values, failed, begin=begin_gpm)
        if reset:
            values["reset_required"] = 1
        elif "reset_required" not in values and tier is Tier.SLOW and "recovery_action" in values:
            values["reset_required"] = int(values["recovery_action"] in _RESETS)
        self._judge(tier, values, failed)
        for key in values:
            failed.pop(key, None)
        self._given.update(values)
        self._given.update(failed)
        return Reading(
            family=Family.CARD,
            subject=self.card_id,
            values=values,
            failed=failed,
            counters_epoch=self._library.driver_version,
        )

    def _ask(self, slot: _Slot, call: Call, values: dict[str, Value], failed: dict[str, str]) -> bool:
        """Ask the slot's source; one that is not supported gives way to the next. True: reset required."""
        while (source := slot.source) is not None:
            run = partial(source.ask, self._library.nvml, self.handle)
            try:
                values.update(self._library.ask(call, self.card_id, source.function, run))
            except NotSupported:
                if slot.worked:  # it could a moment ago: the card is in trouble, it has not changed its kind
                    failed.update(dict.fromkeys(source.keys, Broken.reason))
                    return False
                slot.at += 1
                continue
            except CardLost:
                raise
            except ReadingError as e:
                failed.update(dict.fromkeys(source.keys, e.reason))
                return isinstance(e, ResetRequired)
            slot.worked = True
            return False
        return False

    # ---- fields

    def _read_fields(self, tier: Tier, call: Call, values: dict[str, Value], failed: dict[str, str]) -> bool:
        try:
            if not self._fields_known:
                self._choose_fields(call)
        except CardLost:
            raise
        except NotSupported:
            self._use_calls_instead({source.key for source in FIELDS})
            return False
        except ReadingError as e:
            failed.update((s.key, e.reason) for s in FIELDS if tier is Tier.SLOW or s.tier is Tier.FAST)
            return isinstance(e, ResetRequired)
        reset = False
        for part in (Tier.FAST, Tier.SLOW) if tier is Tier.SLOW else (Tier.FAST,):
            try:
                answers = self._batches[part].read(call, self.card_id)
            except CardLost:
                raise
            except ReadingError as e:
                failed.update((source.key, e.reason) for source in self._fields[part])
                reset |= isinstance(e, ResetRequired)
                continue
            for source in self._fields[part]:
                reset |= self._compose(source, answers, values, failed)
        return reset

    def _compose(
        self,
        source: FieldSource,
        answers: Any,
        values: dict[str, Value],
        failed: dict[str, str],
    ) -> bool:
        total: float = 0
        for field in self._scoped(source):
            answer = answers[field]
            if isinstance(answer, ReadingError):
                # chosen fields were there at the probe: "not supported" now is trouble, not kind
                unsupported = isinstance(answer, NotSupported)
                failed[source.key] = Broken.reason if unsupported else answer.reason
                return isinstance(answer, ResetRequired)
            total += answer
        if source.factor != 1:
            total *= source.factor
        if source.divisor != 1:
            total /= source.divisor
        try:
            values[source.key] = source.convert(total) if source.convert else total
        except ReadingError as e:
            failed[source.key] = e.reason
        return False

    def _choose_fields(self, call: Call) -> None:
        """One call over every field of interest; each key keeps its first source that is there whole."""
        major = self._library.driver_major
        candidates = [source for source in FIELDS if source.driver_major <= major]
        wanted = [field for source in candidates for field in self._scoped(source)]
        answers = FieldBatch(self._library, self.handle, wanted).read(call, self.card_id)
        chosen: dict[str, FieldSource] = {}
        for source in candidates:
            scoped = self._scoped(source)
            there = scoped and not any(isinstance(answers[field], NotSupported) for field in scoped)
            if there and source.key not in chosen:
                chosen[source.key] = source
        for tier in (Tier.FAST, Tier.SLOW):
            self._fields[tier] = [source for source in chosen.values() if source.tier is tier]
            fields = [field for source in self._fields[tier] for field in self._scoped(source)]
            self._batches[tier] = FieldBatch(self._library, self.handle, fields)
        self._fields_known = True
        self._use_calls_instead({source.key for source in FIELDS} - set(chosen), keep_fields=True)

    def _use_calls_instead(self, keys: Iterable[str], *, keep_fields: bool = False) -> None:
        """For keys no field gives; a driver without fields at all gets every call there is."""
        if not keep_fields:
            for tier in (Tier.FAST, Tier.SLOW):
                self._fields[tier] = []
                self._batches[tier] = FieldBatch(self._library, self.handle, ())
            self._fields_known = True
        already = {slot.sources for slot in self._slots}
        for key in sorted(keys):
            source = INSTEAD.get(key)
            if source is not None and (source,) not in already:
                self._slots.append(_Slot((source,)))

    def _scoped(self, source: FieldSource) -> list[Field]:
        if source.per_link:
            return [(field, link) for field in source.fields for link in range(self._links or 0)]
        return [(field, source.scope) for field in source.fields]

    # ---- links

    def _read_links(self, call: Call, values: dict[str, Value], failed: dict[str, str]) -> bool:
        """NVLink state, one question a link. A card in MIG mode cannot be asked: unknown, not down."""
        if self._links is None:
            return False
        try:
            states = self._library.ask(call, self.card_id, "nvmlDeviceGetNvLinkState", self._link_states)
        except NotSupported:
            self._links = None
            return False
        except CardLost:
            raise
        except ReadingError as e:
            failed.update(links_active=e.reason, links_total=e.reason)
            return isinstance(e, ResetRequired)
        if len(states) != self._links:
            self._links = len(states)
            self._fields_known = False  # fields a link depend on how many there are
        values["links_total"] = len(states)
        values["links_active"] = sum(states)
        return False

    def _link_states(self) -> list[int]:
        nvml = self._library.nvml
        states: list[int] = []
        for link in range(_MOST_LINKS):
            try:
                states.append(int(bool(nvml.nvmlDeviceGetNvLinkState(self.handle, link))))
            except nvml.NVMLError as e:
                if link == 0 or int(e.value) == GPU_IS_LOST:
                    raise
                break
        return states

    # ---- GPM

    def _read_gpm(self, call: Call, values: dict[str, Value], failed: dict[str, str], *, begin: bool) -> None:
        keys = nvml_gpm.CARD_METRICS.values()
        try:
            if not self._gpm_known:
                if not self.mig and nvml_gpm.supported(self._library, call, self.card_id, self.handle):
                    self._gpm = nvml_gpm.Gpm(self._library, self.card_id, self.handle, nvml_gpm.CARD_METRICS)
                self._gpm_known = True
            if self._gpm is None:
                return
            if begin:
                self._gpm.start(call)
                self._given.update(keys)
                return
            found, bad = self._gpm.read(call)
        except NotSupported:
            self.close()
            self._gpm_known = True
        except CardLost:
            raise
        except ReadingError as e:
            failed.update(dict.fromkeys(keys, e.reason))
        else:
            values.update(found)
            failed.update(bad)

    # ---- health

    def _judge(self, tier: Tier, values: dict[str, Value], failed: dict[str, str]) -> None:
        """Health from this reading's signals; a fast one adds the slow signals of the last slow one."""
        if tier is Tier.SLOW:
            names = (*SIGNALS, "fabric_state")
            self._slow_signals = {name: values[name] for name in names if name in values}
        judged = verdict({**self._slow_signals, **values})
        unread = [failed[name] for name in SIGNALS if name in failed]
        if judged is None or (judged[0] == "ok" and unread):
            if unread:
                failed["health"] = unread[0]
            return
        values["health"], values["health_detail"] = judged
