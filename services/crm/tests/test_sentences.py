"""The sentences customers read."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crm.notifications import rules as sentences

ETA = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_a_promise_later_than_asked_says_so() -> None:
    on_time = sentences.promised("SO-1", date(2026, 11, 24), date(2026, 11, 24))
    assert on_time == "Your order SO-1 will be delivered by 24 November 2026."
    assert "later than the 23 November 2026 you asked for" in sentences.promised(
        "SO-1", date(2026, 11, 24), date(2026, 11, 23)
    )


@given(st.integers(-500, 500), st.integers(-20, 20), st.text(max_size=1000))
def test_a_revision_is_always_a_sentence_that_fits(hours: int, days: int, reason: str) -> None:
    told = sentences.promise_revised(
        "SO-000001",
        old_promise=ETA.date(),
        new_promise=ETA.date() + timedelta(days=days),
        old_eta=ETA,
        new_eta=ETA + timedelta(hours=hours),
        reason=reason,
    )
    text = sentences.shortened(told)
    assert "SO-000001" in text
    assert text.endswith((".", "…"))
    assert len(text) <= 1000


def test_a_revision_of_seconds_does_not_compare_equal_times() -> None:
    day = ETA.date()
    text = sentences.promise_revised(
        "SO-1", old_promise=day, new_promise=day, old_eta=ETA, new_eta=ETA + timedelta(seconds=30), reason="CUT-1 down"
    )
    assert "instead of" not in text
    assert "still expected on 24 November 2026 at about" in text


def test_a_revision_within_the_promise_says_the_promise_stays() -> None:
    text = sentences.promise_revised(
        "SO-1",
        old_promise=date(2026, 11, 30),
        new_promise=date(2026, 11, 30),
        old_eta=ETA,
        new_eta=ETA + timedelta(days=2),
        reason="CUT-1 down since 10:42",
    )
    assert text == (
        "Your order SO-1 is now expected on 26 November 2026 instead of 24 November 2026; the promised day, "
        "30 November 2026, stays. The reason: CUT-1 down since 10:42."
    )
