"""Netting, pegging and promising as pure rules."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erp.fulfilment.rules import Command, Event, Lot, PickedLine, State, drop_broken, transition
from erp.items.rules import Component, ItemSnapshot, RoutingStep
from erp.planning.rules import Book, Demand, Stock, Supply, SupplyKind, make_minutes, required
from erp.procurement.rules import Delivered, Ordered, PurchaseOrderState, received, refusals, state_of
from erp.promising.rules import Delivery, Make, Why, arrival, first_promise, revised

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
ZERO = Decimal(0)


def item(code: str, source: str, level: int, *components: tuple[str, str, str], lead: int = 0) -> ItemSnapshot:
    """An item at version 1 with one operation of 10 minutes set-up and 2 a piece."""
    return ItemSnapshot(
        item=code,
        name=code,
        unit="pcs",
        source="make" if source == "make" else "buy",
        standard_cost=Decimal(1),
        price=Decimal(1),
        lead_time_days=lead,
        supplier=None,
        minimum_order_quantity=ZERO,
        version=1,
        components=tuple(Component(c, Decimal(q), Decimal(scrap)) for c, q, scrap in components),
        routing=(RoutingStep(10, "WC", Decimal(10), Decimal(2)),) if source == "make" else (),
        low_level_code=level,
    )


ITEMS = {
    "TOP": item("TOP", "make", 0, ("SUB", "1", "0"), ("RAW", "2", "10")),
    "SUB": item("SUB", "make", 1, ("RAW", "3", "0")),
    "RAW": item("RAW", "buy", 2, lead=6),
}


def book_with(**available: int) -> Book:
    """A book with this much of each item on hand."""
    ids = count(1)
    book = Book(lambda: UUID(int=next(ids)))
    for code in ITEMS:
        book.stock[code] = Stock(Decimal(available.get(code, 0)), ZERO, ZERO)
    return book


def wants(book: Book, code: str, quantity: int, priority: int = 0, days: int = 9) -> Demand:
    """An order line wants something."""
    demand = Demand(book.new_id(), code, Decimal(quantity), priority, NOW + timedelta(days=days))
    demand.order_id, demand.order, demand.line = UUID(int=77), "SO-1", 1
    return book.add_demand(demand)


def test_explosion_nets_every_level() -> None:
    """5 TOP with 1 SUB and 12 RAW on hand: make 5 TOP and 4 SUB, buy 5 × 2.2 + 4 × 3 − 12 RAW."""
    book = book_with(SUB=1, RAW=12)
    top = wants(book, "TOP", 5)
    book.cover(ITEMS, NOW)
    assert [(plan.supply.item, plan.supply.quantity) for plan in book.plans] == [("TOP", 5), ("SUB", 4)]
    assert [(r.supply.quantity, r.due) for r in book.requisitions] == [(11, date(2026, 3, 8))]
    assert {d.need for d in book.components_of(book.plans[0].supply.id)} == {top.need - timedelta(minutes=20)}
    assert not book.uncovered()


def test_free_supply_is_used_before_new_supply_is_made() -> None:
    """What is on its way and nobody waits for is taken, the earliest first."""
    book = book_with()
    for number, quantity in ((901, 4), (900, 3)):
        expected = NOW + timedelta(days=number)
        supply = Supply(UUID(int=number), SupplyKind.PURCHASE, "RAW", Decimal(quantity), expected)
        book.add_supply(supply)
    wants(book, "RAW", 5)
    book.cover(ITEMS, NOW)
    assert not book.requisitions
    assert [book.supplies[UUID(int=n)].pegged for n in (900, 901)] == [3, 2]


def test_a_receipt_serves_the_most_urgent_first() -> None:
    """Of 6 received the high priority gets its 5; who came earlier gets 1 and waits for the rest."""
    book = book_with()
    early, urgent = wants(book, "SUB", 4, priority=1), wants(book, "SUB", 5, priority=9)
    book.cover(ITEMS, NOW)
    supply = book.plans[0].supply
    book.stock["SUB"].on_hand += 6
    book.receive(supply, Decimal(6))
    assert [(d.reserved, d.pegged) for d in (urgent, early)] == [(5, 0), (1, 3)]


def test_stock_that_is_gone_is_taken_back_from_the_least_urgent() -> None:
    """Later need gives way first among equals, and is covered anew."""
    book = book_with(RAW=10)
    later, sooner = wants(book, "RAW", 5, days=9), wants(book, "RAW", 5, days=2)
    book.cover(ITEMS, NOW)
    book.stock["RAW"].held += 7
    book.settle("RAW")
    assert (sooner.reserved, later.reserved, book.hit) == (3, 0, {sooner.id, later.id})
    book.cover(ITEMS, NOW)
    assert book.requisitions[0].supply.quantity == 7


def test_what_is_wanted_no_more_is_given_back_latest_supply_first() -> None:
    """Pegs go before stock, and only unstarted plans are asked to shrink."""
    book = book_with(SUB=3)
    demand = wants(book, "SUB", 8)
    book.cover(ITEMS, NOW)
    book.resize(demand, Decimal(4))
    assert (demand.reserved, demand.pegged) == (3, 1)
    assert [(s.item, s.free) for s in book.surplus()] == [("SUB", 4)]
    book.plans[0].supply.shrinkable = False
    assert list(book.surplus()) == []


steps = st.lists(
    st.tuples(
        st.sampled_from(["want", "resize", "receive", "lose", "find", "short"]), st.integers(0, 9), st.integers(0, 9)
    ),
    max_size=25,
)


@given(steps)
def test_everything_stays_covered_and_nothing_is_promised_twice(taken: list[tuple[str, int, int]]) -> None:
    """After any sequence of changes, each settled and covered, the book adds up."""
    book = book_with(RAW=5)
    wants(book, "TOP", 1)
    for what, which, quantity in taken:
        stock = book.stock[sorted(book.stock)[which % 3]]
        supply = list(book.supplies.values())[which % len(book.supplies)] if book.supplies else None
        if what == "want":
            wants(book, sorted(ITEMS)[which % 3], quantity + 1, priority=which)
        elif what == "resize":
            book.resize(list(book.demands.values())[which % len(book.demands)], Decimal(quantity))
        elif what == "find":
            stock.on_hand += quantity
        elif what == "lose":
            stock.on_hand -= min(stock.on_hand, Decimal(quantity))
        elif supply is not None and what == "receive":
            book.stock[supply.item].on_hand += quantity
            book.receive(supply, Decimal(quantity))
        elif supply is not None:
            supply.quantity = max(supply.received, supply.quantity - quantity)
            book.trim(supply)
        for code in book.stock:
            book.settle(code)
        book.cover(ITEMS, NOW)
        assert all(d.uncovered == 0 and d.reserved >= 0 and d.pegged >= 0 for d in book.demands.values())
        for code, known in book.stock.items():
            assert known.available >= 0
            assert known.reserved == sum((d.reserved for d in book.demands.values() if d.item == code), ZERO)
        for s in book.supplies.values():
            assert s.pegged == sum((peg.quantity for peg in book.pegs_on(s.id)), ZERO) <= s.open


def test_times_and_quantities_of_making() -> None:
    """Set-up counts once; component quantities are rounded up, so that they are never short."""
    assert make_minutes(ITEMS["TOP"].routing, Decimal(5)) == 20
    assert required(Decimal("0.333333"), Decimal(3)) == Decimal("0.999999")
    assert required(Decimal("0.0000015"), Decimal(1)) == Decimal("0.000002")


def test_arrival_is_the_latest_of_everything_waited_for() -> None:
    """A purchase under an unscheduled plan decides; once the plan is scheduled, its end does, for the same reason."""
    due = datetime(2026, 3, 9, tzinfo=UTC)
    bought, made, scheduled = UUID(int=1), UUID(int=2), UUID(int=3)
    make = Make("PL-1", "SOFA", timedelta(hours=18), None, None, None, [bought])
    end = due + timedelta(days=2)
    later = Make("PL-2", "SOFA", timedelta(hours=18), end, Why("SCHEDULE", "scheduled"), None, [bought])
    supplies = {bought: Delivery("LEA-BLU", "PO-000007", due), made: make, scheduled: later}
    expected = arrival([made], supplies, NOW)
    assert (expected.at, expected.basis) == (due + timedelta(hours=18, days=1), "purchase")
    assert expected.why.text == "MATERIAL_SHORTAGE:LEA-BLU waits for PO-000007 due 2026-03-08"
    assert arrival([made, scheduled], supplies, NOW).at == end + timedelta(days=1)
    assert arrival([], supplies, NOW).at == NOW + timedelta(days=1)


def test_a_promised_day_moves_only_when_it_would_be_missed() -> None:
    """Earlier is told but not promised; an amended order is promised its new day either way."""
    told = first_promise(arrival([UUID(int=1)], {UUID(int=1): Delivery("A", "PO-1", NOW + timedelta(days=9))}, NOW))
    earlier = arrival([UUID(int=1)], {UUID(int=1): Delivery("A", "PO-1", NOW + timedelta(days=3))}, NOW)
    moved = revised(told, earlier)
    assert moved is not None
    assert (moved.promised_date, moved.eta) == (told.promised_date, earlier.at)
    amended = revised(told, earlier, cause=Why("AMENDED", "amended"), amended=True)
    assert amended is not None
    assert amended.promised_date == earlier.at.date()


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_the_process_only_moves_forward(state: State, event: Event) -> None:
    """What left the house is never called back, and a cancelled order stays cancelled, whatever arrives late."""
    after, commands = transition(state, event)
    if state in (State.SHIPPED, State.DELIVERED, State.CLOSED, State.CANCELLED):
        assert list(State).index(after) >= list(State).index(state)
        assert commands == ()
    if after is State.SHIPPED and state is not State.SHIPPED:
        assert commands == (Command.INVOICE,)


def test_picks_stand_as_far_as_lots_and_reservations_go() -> None:
    """Scrapped lots lose their picks, over-picked ones the excess, held ones unless nothing can replace them."""
    lots = {
        "GOOD": Lot(released=True, held=False, quantity=Decimal(5), picked=Decimal(8)),
        "HELD": Lot(released=False, held=True, quantity=Decimal(4), picked=Decimal(4)),
        "GONE": Lot(released=False, held=False, quantity=ZERO, picked=Decimal(2)),
    }
    picks = {"GOOD": Decimal(6), "HELD": Decimal(4), "GONE": Decimal(2)}
    kept = PickedLine(1, "A", Decimal(12), Decimal(10), dict(picks))
    drop_broken(kept, lots, {"GOOD": Decimal(3)}, keep_held=True)
    assert kept.picks == {"GOOD": 3, "HELD": 4}
    replaced = PickedLine(1, "A", Decimal(12), Decimal(2), dict(picks))
    drop_broken(replaced, lots, {}, keep_held=False)
    assert (replaced.picks, replaced.missing) == ({"GOOD": 2}, 10)


def test_a_delivery_in_parts() -> None:
    """Parts of one line add up, and exceed together what one alone would not."""
    ordered = {1: Ordered("A", Decimal(10), Decimal(4)), 2: Ordered("B", Decimal(1), ZERO)}
    parts = [Delivered(1, Decimal(4), "L"), Delivered(1, Decimal(3)), Delivered(2, Decimal(1), "L")]
    broken = [(r.index, r.rule) for r in refusals(ordered, parts, {})]
    assert broken == [(1, "exceeds_ordered"), (2, "lot_of_other_item")]
    assert state_of(received(ordered, [Delivered(1, Decimal(6))]).values()) is PurchaseOrderState.PART_RECEIVED
    whole = received(ordered, [Delivered(1, Decimal(6)), Delivered(2, Decimal(1))])
    assert state_of(whole.values()) is PurchaseOrderState.RECEIVED
