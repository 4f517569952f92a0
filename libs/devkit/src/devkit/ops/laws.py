"""Conservation laws that span services, looked at in their databases when what is under way has arrived."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import asyncpg

from contracts.values import plain

# Ordered = shipped + open + cancelled: what CRM says is ordered now is what ERP ships or has open.
_ORDERED = """
    SELECT l.order_id, l.line, o.number,
           CASE WHEN l.withdrawn OR o.state = 'cancelled' THEN 0 ELSE l.quantity END AS ordered
    FROM order_line AS l JOIN customer_order AS o ON o.id = l.order_id
"""
_FULFILLED = "SELECT order_id, line, quantity AS ordered, shipped FROM fulfilment_line"
_MADE = "SELECT lot, sum(quantity) AS quantity FROM batch GROUP BY lot"
_TAKEN_IN = "SELECT lot, sum(quantity) AS quantity FROM stock_ledger WHERE reason = 'production_receipt' GROUP BY lot"
_ORDERS = "SELECT id AS order_id, number, version FROM customer_order"
_VIEWED = "SELECT order_id, greatest(version, coalesce(cancelled_version, 0)) AS version FROM status_order"
_POLL_SECONDS = 0.5
_ZERO = Decimal(0)

Laws = dict[str, list[str]]


async def broken(urls: Mapping[str, str], settle_seconds: float) -> Laws:
    """What breaks each law all the time until it is settled or the time is over; `urls` by service."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settle_seconds
    found = await _look(urls)
    while any(found.values()) and loop.time() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        again = await _look(urls)
        found = {law: [said for said in sentences if said in set(again[law])] for law, sentences in found.items()}
    return found


async def _look(urls: Mapping[str, str]) -> Laws:
    asked = (("crm", _ORDERED), ("erp", _FULFILLED), ("mes", _MADE), ("erp", _TAKEN_IN), ("crm", _ORDERS))
    rows = await asyncio.gather(*(_rows(urls[service], query) for service, query in (*asked, ("gateway", _VIEWED))))
    ordered, fulfilled, made, taken_in, orders, viewed = rows
    return {
        "ordered is shipped and open": _order_lines(ordered, fulfilled),
        "made is taken in": _lots(made, taken_in),
        "the view knows every order": _views(orders, viewed),
    }


async def _rows(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=5, command_timeout=60)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def _order_lines(ordered: list[Any], fulfilled: list[Any]) -> list[str]:
    known = {(row["order_id"], row["line"]): row for row in fulfilled}
    wrong = []
    for row in ordered:
        there = known.get((row["order_id"], row["line"]))
        quantity, shipped = (there["ordered"], there["shipped"]) if there else (_ZERO, _ZERO)
        if row["ordered"] != quantity or shipped > quantity:
            said = f"{plain(row['ordered'])} ordered, {plain(shipped)} shipped, {plain(quantity - shipped)} open"
            wrong.append(f"{row['number']} line {row['line']}: {said}")
    return sorted(wrong)


def _lots(made: list[Any], taken_in: list[Any]) -> list[str]:
    of_mes = {row["lot"]: row["quantity"] for row in made}
    of_erp = {row["lot"]: row["quantity"] for row in taken_in}
    return [
        f"lot {lot}: {plain(of_mes.get(lot, _ZERO))} made, {plain(of_erp.get(lot, _ZERO))} taken into stock"
        for lot in sorted(of_mes.keys() | of_erp.keys())
        if of_mes.get(lot, _ZERO) != of_erp.get(lot, _ZERO)
    ]


def _views(orders: list[Any], viewed: list[Any]) -> list[str]:
    versions = {row["order_id"]: row["version"] for row in viewed}
    return sorted(
        f"{row['number']}: version {row['version']}, the order-status view has {versions.get(row['order_id'], 0)}"
        for row in orders
        if versions.get(row["order_id"]) != row["version"]
    )
