"""A seed names one schedule."""

from typing import get_args

from chaos.rig import make_layout
from chaos.schedule import POISONS, Kind, schedule
from devkit.platform.layout import split

_LAYOUT = split(2)


def test_the_same_seed_makes_the_same_schedule_and_another_does_not() -> None:
    once = schedule(7, 1200, _LAYOUT, "long")
    assert once == schedule(7, 1200, make_layout(), "long")
    assert once != schedule(8, 1200, _LAYOUT, "long")


def test_the_short_profile_has_every_kind_but_full_disks() -> None:
    faults = schedule(7, 0, _LAYOUT, "short")
    assert {fault.kind for fault in faults} == {*get_args(Kind)} - {"full disk"}
    assert {fault.target for fault in faults if fault.kind == "poison"} == {*POISONS}
    assert faults[-1].at < 120


def test_the_long_profile_goes_through_everything_and_ends_in_time() -> None:
    faults = schedule(7, 1200, _LAYOUT, "long", ("kafka", "postgres"))
    assert {fault.kind for fault in faults} == {*get_args(Kind)}
    assert {fault.target for fault in faults if fault.kind == "kill"} == {*_LAYOUT.parts, "kafka", "postgres"}
    assert 1100 < faults[-1].at <= 1200
