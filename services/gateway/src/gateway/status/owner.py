"""Asks CRM, which owns orders, about an order the projection has not folded yet."""

from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from chassis.http.problems import Problem
from gateway.status.queries import ordered_lines
from gateway.status.rules import CANCELLED, OrderFact
from gateway.upstreams import Outgoing, Upstreams

_SECONDS = 5.0


async def order_at_owner(upstreams: Upstreams, authorization: str, reference: str) -> OrderFact | None:
    """The order as CRM has it, None when it is unknown or not the caller's. Raises Problem 502–504 when CRM is away."""
    target = f"/v1/orders/{quote(reference, safe='')}".encode()
    answer = await upstreams["crm"].send(Outgoing("GET", target, {"authorization": authorization}), _SECONDS)
    if answer.status_code == 404:
        return None
    if not answer.is_success:
        raise Problem(503, "owner_refused", f"crm answered {answer.status_code}", headers={"Retry-After": "2"})
    return _fact(answer.json())


def _fact(order: dict[str, Any]) -> OrderFact:
    return OrderFact(
        order_id=order["id"],
        number=order["number"],
        customer=order["customer"],
        version=order["version"],
        requested_date=date.fromisoformat(order["requested_date"]),
        lines=ordered_lines(order["lines"]),
        cancelled=order["state"] == CANCELLED,
        as_of=datetime.fromisoformat(order["updated_at"]),
    )
