"""Pure rules of inspections and defects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Result = Literal["accepted", "rejected"]
Severity = Literal["minor", "major", "critical"]


@dataclass(frozen=True)
class Measurement:
    """What was measured or counted on a lot."""

    value: Decimal | None = None
    lower_limit: Decimal | None = None
    upper_limit: Decimal | None = None
    sample_size: int | None = None
    nonconforming: int | None = None

    def within_limits(self) -> bool:
        """Whether the value respects the limits there are; limits belong to what is allowed."""
        if self.value is None:
            return True
        low_enough = self.upper_limit is None or self.value <= self.upper_limit
        high_enough = self.lower_limit is None or self.value >= self.lower_limit
        return low_enough and high_enough


@dataclass(frozen=True)
class Broken:
    """A rule an input field breaks."""

    field: str
    rule: str
    message: str


def broken_rules(measured: Measurement, result: Result) -> Iterator[Broken]:
    """What is contradictory in a measurement and the judgement on it."""
    lower, upper = measured.lower_limit, measured.upper_limit
    if lower is not None and upper is not None and lower > upper:
        yield Broken("/lower_limit", "limits_reversed", "the lower limit is above the upper limit")
    elif result == "accepted" and not measured.within_limits():
        yield Broken("/result", "result_contradicts_limits", "the value is outside its limits, so it is not accepted")
    if measured.nonconforming is not None:
        if measured.sample_size is None:
            yield Broken("/sample_size", "sample_size_missing", "nonconforming units need the size of their sample")
        elif measured.nonconforming > measured.sample_size:
            yield Broken("/nonconforming", "exceeds_sample_size", "more units are nonconforming than were sampled")


def contains_siblings(severity: Severity) -> bool:
    """Whether a defect also casts doubt on the lots made or delivered together with the bad one."""
    return severity != "minor"


def finding(characteristic: str, lot: str, measured: Measurement, plain: Mapping[str, str]) -> str:
    """The defect in one sentence, e.g. ``Brix 12.4 outside 10 to 12 on lot L-000123``.

    ``plain`` holds the measurement's decimals as text by field name.
    """
    sentence = characteristic
    if "value" in plain:
        sentence += f" {plain['value']}"
        if not measured.within_limits():
            limits = [plain[name] for name in ("lower_limit", "upper_limit") if name in plain]
            sentence += f" outside {' to '.join(limits)}" if len(limits) == 2 else f" beyond {limits[0]}"
    if measured.nonconforming:
        sentence += f", {measured.nonconforming} of {measured.sample_size} nonconforming"
    return f"{sentence} on lot {lot}"
