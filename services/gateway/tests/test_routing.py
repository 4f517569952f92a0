"""Which service owns which public path."""

import pytest

from contracts.topics import EVENTS
from gateway.orders import rules
from gateway.orders.rules import awaited_events, barrier_after, owner_of, seconds_for


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1/customers", "crm"),
        ("/v1/orders", "crm"),
        ("/v1/orders:batch", "crm"),
        ("/v1/orders/SO-000001", "crm"),
        ("/v1/orders/SO-000001/cancel", "crm"),
        ("/v1/orders/SO-000001/notifications", "crm"),
        ("/v1/orders/SO-000001/shipments", "erp"),
        ("/v1/orders/SO-000001/invoices", "erp"),
        ("/v1/orders/SO-000001/status", "gateway"),
        ("/v1/orders/SO-000001/status/stream", "gateway"),
        ("/v1/items/SOFA-3S", "erp"),
        ("/v1/stock/receipts", "erp"),
        ("/v1/purchase-orders/PO-000001/receipts", "erp"),
        ("/v1/ledger/trial-balance", "erp"),
        ("/v1/supplier-checks", "erp"),
        ("/v1/work-orders", "mes"),
        ("/v1/operations/WO-000001-10/start", "mes"),
        ("/v1/machines/CUT-1/state", "mes"),
        ("/v1/lots/L-000001/trace", "mes"),
        ("/v1/clients", "gateway"),
        ("/v1/", None),
        ("/v1/unknown", None),
        ("/v2/orders", None),
        ("/v1/orders/../../internal/applied", None),
        ("/v1/orders/./x", None),
    ],
)
def test_owner(path: str, owner: str | None) -> None:
    assert owner_of(path) == owner


def test_a_batch_of_orders_may_take_longer() -> None:
    assert seconds_for("/v1/orders:batch") > seconds_for("/v1/orders")


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/items", "crm"),
        ("/v1/items/SOFA-3S", "crm"),
        ("/v1/stock/receipts", "mes"),
        ("/v1/stock/counts", "mes"),
        ("/v1/purchase-orders/PO-000001/receipts", "mes"),
        ("/v1/lots/L-000001/hold", "erp"),
        ("/v1/inspections", "erp"),
        ("/v1/defects", "erp"),
        ("/v1/shipments/SH-000001/ship", "crm"),
        ("/v1/shipments/SH-000001/deliver", "crm"),
        ("/v1/orders", None),
        ("/v1/orders/SO-000001/cancel", None),
    ],
)
def test_barrier(path: str, service: str | None) -> None:
    barrier = barrier_after("POST", path)
    assert (barrier.service if barrier else None) == service
    assert barrier_after("GET", path) is None
    if barrier:
        assert barrier.event_types <= set(EVENTS)
        assert barrier.service in rules.SERVICES


def test_only_events_the_guard_handles_are_awaited() -> None:
    header = "1;erp.StockMoved.v1, 2;erp.FulfilmentChanged.v1"
    assert awaited_events(header, {"erp.StockMoved.v1"}) == ["1"]
    assert awaited_events("", {"erp.StockMoved.v1"}) == []
