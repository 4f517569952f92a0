"""What the shop floor says of a lot may come before the lot's receipt: it travels with other plans and lots."""

from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from contracts.mes import LotHeld, LotReleased, LotScrapped


def interleavings(*streams: str) -> list[str]:
    """Every merged order of events, one letter each, that keeps the order within each stream."""
    letters = "".join(streams)
    orders = ("".join(order) for order in permutations(letters))
    return [
        o for o in orders if all([letter for letter in o if letter in stream] == list(stream) for stream in streams)
    ]


async def running_plans(factory: Any) -> tuple[Any, Any]:
    """A plan that makes PART, and one that makes PRT of it."""
    await factory.buy("RM")
    await factory.make("PART", {"RM": "1"})
    await factory.make("PRT", {"PART": "1"})
    await factory.stock("RM", 10000)
    await factory.place(("PRT", 1000))
    return (await factory.plans("PART"))[0], (await factory.plans("PRT"))[0]


async def ledger(factory: Any, lot: str) -> list[tuple[str, Decimal]]:
    """The moves of a lot of PART, oldest first."""
    rows = (await factory.get("/v1/stock/PART/ledger", lot=lot, limit="200"))["items"]
    return [(row["reason"], Decimal(row["quantity"])) for row in rows]


async def test_a_lot_used_before_its_receipt_is_not_counted_twice(factory: Any) -> None:
    """Ten are made, held, released, three and two are used: five are left, whatever is heard of first."""
    part, parent = await running_plans(factory)
    for index, told in enumerate(interleavings("m", "hr", "uv"), start=1):
        lot = f"L-{index}"
        events = {
            "m": factory.batch(part, 10, lot),
            "h": factory.lot(LotHeld, "PART", lot),
            "r": factory.lot(LotReleased, "PART", lot, 2),
            "u": factory.consumed(parent, ("PART", lot, 3)),
            "v": factory.consumed(parent, ("PART", lot, 2)),
        }
        await factory.happened(*(events[name] for name in told))
        moves = await ledger(factory, lot)
        assert sum(quantity for _, quantity in moves) == 5, (told, moves)
        assert sum(quantity for reason, quantity in moves if reason == "production_receipt") == 10, (told, moves)
        assert {reason for reason, _ in moves} == {"production_receipt", "issue"}, (told, moves)
        balance = await factory.balance("PART")
        assert (balance["on_hand"], balance["held"]) == (5 * index, 0), told


async def test_a_lot_used_and_scrapped_before_its_receipt_leaves_nothing(factory: Any) -> None:
    """Ten are made, three used, the rest scrapped: nothing is left, whatever is heard of first."""
    part, parent = await running_plans(factory)
    for index, told in enumerate(interleavings("m", "s", "u"), start=1):
        lot = f"L-{index}"
        events = {
            "m": factory.batch(part, 10, lot),
            "s": factory.lot(LotScrapped, "PART", lot),
            "u": factory.consumed(parent, ("PART", lot, 3)),
        }
        await factory.happened(*(events[name] for name in told))
        moves = await ledger(factory, lot)
        assert sum(quantity for _, quantity in moves) == 0, (told, moves)
        assert sum(quantity for reason, quantity in moves if reason == "production_receipt") == 10, (told, moves)
    assert (await factory.balance("PART"))["on_hand"] == 0


@pytest.mark.parametrize("made", [3, 10])
async def test_a_lot_used_up_is_not_handed_out_again_by_its_receipt(factory: Any, made: int) -> None:
    """Of what comes with the receipt only what was not used is given to those who wait."""
    part, parent = await running_plans(factory)
    await factory.happened(factory.consumed(parent, ("PART", "L-1", 3)), factory.batch(part, made, "L-1"))
    left = made - 3
    assert await factory.balance("PART") == {"on_hand": left, "reserved": left, "held": 0, "available": 0}
    (lot,) = (await factory.get("/v1/stock/PART"))["lots"] or [{"quantity": "0"}]
    assert Decimal(lot["quantity"]) == left
