"""What the business tables of the platform say: effects, stock, order lines, journal and processes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import asyncpg

from history.model import Balance, Effect, History, JournalLine, Lot, OrderLine, Process, StockRow

Connections = Mapping[str, asyncpg.Connection]

# Per fold of `history.platform`: the service, and its state as (key, amount).
_EFFECTS: dict[str, tuple[str, str]] = {
    "erp receipts of batches": (
        "erp",
        "SELECT lot AS key, sum(quantity) AS amount FROM stock_ledger WHERE reason = 'production_receipt' GROUP BY lot",
    ),
    "erp shipments": (
        "erp",
        "SELECT source_event AS key, -sum(quantity) AS amount FROM stock_ledger WHERE reason = 'shipment' GROUP BY 1",
    ),
    "erp orders": ("erp", "SELECT id::text AS key, 1 AS amount FROM fulfilment"),
    "mes work orders": ("mes", "SELECT plan_id::text AS key, count(*) AS amount FROM work_order GROUP BY 1"),
    "mes receipts": ("mes", "SELECT id::text AS key, quantity AS amount FROM lot_receipt"),
    "mes shipments": ("mes", "SELECT shipment_id || '/' || lot AS key, quantity AS amount FROM lot_shipment"),
    "crm notices": (
        "crm",
        """SELECT cause_event_id || '/' || milestone AS key, count(*) AS amount FROM notification
           WHERE milestone IN ('shipped', 'delivered') GROUP BY 1""",
    ),
    "gateway orders": (
        "gateway",
        "SELECT order_id::text AS key, version AS amount FROM status_order WHERE version > 0",
    ),
    "gateway produced": (
        "gateway",
        """SELECT order_id || '/' || (line ->> 'line') AS key, (line ->> 'produced')::numeric AS amount
           FROM status_fulfilment, jsonb_array_elements(lines) AS line""",
    ),
}
_ORDERED = """
    SELECT o.id, o.number, l.line, l.quantity, l.withdrawn OR o.state = 'cancelled' AS cancelled
    FROM order_line AS l JOIN customer_order AS o ON o.id = l.order_id
"""
_SHIPPED = "SELECT order_id, line, shipped FROM fulfilment_line"
_OPEN = "SELECT order_id, line, sum(reserved + pegged) AS open FROM demand WHERE order_id IS NOT NULL GROUP BY 1, 2"
_PEGS = """
    SELECT d.order_id, d.plan_id, s.id AS supply_id, l.purchase_order_id
    FROM peg AS p JOIN demand AS d ON d.id = p.demand_id JOIN supply AS s ON s.id = p.supply_id
    LEFT JOIN purchase_order_line AS l ON l.id = s.id
    WHERE p.quantity > 0
"""
_WORK_ORDERS = """
    SELECT w.id, w.state, w.plan_id, EXISTS (
        SELECT FROM operation AS o WHERE o.work_order_id = w.id AND o.state IN ('ready', 'running', 'paused')
    ) AS workable
    FROM work_order AS w
"""


async def read_plant(connections: Connections, history: History) -> None:
    """Add what the four services' business tables say."""
    for fold, (service, query) in _EFFECTS.items():
        rows = await connections[service].fetch(query)
        history.effects += [Effect(fold, row["key"], Decimal(row["amount"])) for row in rows]
    erp = connections["erp"]
    ledger = await erp.fetch("SELECT item, version, lot, quantity, balance FROM stock_ledger")
    history.ledger += [StockRow(*row) for row in ledger]
    history.balances += [Balance(*row) for row in await erp.fetch("SELECT item, on_hand, reserved, held FROM balance")]
    lots = await erp.fetch("SELECT item, lot, quantity, status = 'held' FROM stock_lot")
    history.lots += [Lot(*row) for row in lots]
    journal = await erp.fetch(
        "SELECT e.number, l.account, l.debit, l.credit FROM journal_line AS l JOIN journal_entry AS e ON e.id = l.entry"
    )
    history.journal += [JournalLine(*row) for row in journal]
    history.order_lines += await _order_lines(connections)
    history.processes += await _processes(connections)


async def _order_lines(connections: Connections) -> list[OrderLine]:
    erp = connections["erp"]
    shipped = {(row["order_id"], row["line"]): row["shipped"] for row in await erp.fetch(_SHIPPED)}
    still_open = {(row["order_id"], row["line"]): row["open"] for row in await erp.fetch(_OPEN)}
    lines = []
    for row in await connections["crm"].fetch(_ORDERED):
        line = row["id"], row["line"]
        cancelled = row["quantity"] if row["cancelled"] else Decimal(0)
        amounts = shipped.get(line, Decimal(0)), still_open.get(line, Decimal(0))
        lines.append(OrderLine(row["number"], row["line"], row["quantity"], cancelled, *amounts))
    return lines


async def _processes(connections: Connections) -> list[Process]:
    erp, mes = connections["erp"], connections["mes"]
    supplies = _supplies_by_owner(await erp.fetch(_PEGS))
    shipments = await erp.fetch("SELECT id, order_id, state FROM shipment")
    found = list(_purchasing_and_shipping(await erp.fetch("SELECT id, state FROM purchase_order"), shipments))
    of_order = {row["order_id"]: (f"shipment/{row['id']}",) for row in shipments if row["state"] != "cancelled"}
    for row in await erp.fetch("SELECT id, state FROM fulfilment"):
        waits_for = (*supplies[row["id"]], *of_order.get(row["id"], ()))
        found.append(_process("order", row, ("closed", "cancelled"), waits_for))
    work_orders = await mes.fetch(_WORK_ORDERS)
    of_plan = {row["plan_id"]: (f"work-order/{row['id']}",) for row in work_orders}
    plans = await erp.fetch("SELECT id, state FROM production_plan")
    found += [_process("plan", row, ("closed", "cancelled"), of_plan.get(row["id"], ())) for row in plans]
    for row in work_orders:
        waits_for = ("role/operator",) if row["workable"] else tuple(supplies[row["plan_id"]])
        found.append(_process("work-order", row, ("completed", "cancelled"), waits_for))
    return found


def _supplies_by_owner(pegs: Iterable[Mapping[str, Any]]) -> dict[Any, list[str]]:
    """What each order, and each plan for its components, waits for."""
    found: dict[Any, list[str]] = defaultdict(list)
    for row in pegs:
        bought = row["purchase_order_id"]
        name = f"purchase-order/{bought}" if bought else f"plan/{row['supply_id']}"
        found[row["order_id"] or row["plan_id"]].append(name)
    return found


def _purchasing_and_shipping(
    purchase_orders: Iterable[Mapping[str, Any]], shipments: Iterable[Mapping[str, Any]]
) -> Iterable[Process]:
    for row in purchase_orders:
        yield _process("purchase-order", row, ("received",), ("role/supplier",))
    next_actor = {"planned": ("role/warehouse",), "shipped": ("role/carrier",)}
    for row in shipments:
        yield _process("shipment", row, ("delivered", "cancelled"), next_actor.get(row["state"], ()))


def _process(kind: str, row: Mapping[str, Any], terminal: tuple[str, ...], waits_for: tuple[str, ...]) -> Process:
    ended = row["state"] in terminal
    return Process(f"{kind}/{row['id']}", row["state"], ended, () if ended else waits_for)
