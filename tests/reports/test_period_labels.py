"""A period is named in one way alone: nothing that looks like a label and is none names a file."""

from __future__ import annotations

import pytest

from ullage_contract.errors import ConfigError
from ullage_reports import period
from ullage_reports.period import PeriodKind

LABELS = {
    PeriodKind.DAILY: "2026-10-07",
    PeriodKind.WEEKLY: "2026-W41",
    PeriodKind.MONTHLY: "2026-10",
    PeriodKind.QUARTERLY: "2026-Q4",
    PeriodKind.YEARLY: "2026",
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_label_is_whole_and_in_plain_digits(kind: PeriodKind) -> None:
    label = LABELS[kind]
    assert period.parse(kind, label, "UTC").label == label
    arabic = label.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    for wrong in (f"{label}\n", f"\n{label}", f" {label}", f"{label} ", arabic, f"{label}x"):
        with pytest.raises(ConfigError, match="is no such period"):
            period.parse(kind, wrong, "UTC")
