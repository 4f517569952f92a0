"""When orders are expected to arrive, from what they wait for."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.db import Reader
from erp.planning.queries import supply_tree
from erp.planning.rules import SupplyKind, make_minutes
from erp.procurement.queries import numbers_of_lines
from erp.promising.rules import Delivery, Make, Ready, Why, arrival, minutes


async def arrivals(reader: Reader, order_ids: Collection[UUID], now: datetime) -> dict[UUID, Ready]:
    """Expected arrival of each order that has anything open."""
    if not order_ids:
        return {}
    rows = await supply_tree(reader, order_ids)
    bought = [row["supply_id"] for row in rows if row["kind"] == SupplyKind.PURCHASE]
    numbers = await numbers_of_lines(reader, bought) if bought else {}
    of_order: dict[UUID, list[UUID]] = defaultdict(list)
    of_plan: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        waiting = of_order[row["order_id"]] if row["order_id"] else of_plan[row["plan_id"]]
        if row["supply_id"]:
            waiting.append(row["supply_id"])
    supplies: dict[UUID, Delivery | Make] = {}
    for row in rows:
        if row["kind"] == SupplyKind.PURCHASE:
            supplies[row["supply_id"]] = Delivery(row["item"], numbers[row["supply_id"]], row["expected"])
        elif row["kind"] == SupplyKind.PLAN:
            supplies[row["supply_id"]] = Make(
                row["plan"],
                row["item"],
                minutes(make_minutes(row["routing"], row["open"])),
                row["planned_end"],
                _why(row["schedule_reason"]),
                _why(row["reason"]),
                of_plan[row["supply_id"]],
            )
    return {order_id: arrival(waiting, supplies, now) for order_id, waiting in of_order.items()}


def _why(stored: dict[str, Any] | None) -> Why | None:
    return Why(**stored) if stored else None
