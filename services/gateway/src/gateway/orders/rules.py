"""Which service owns a public path, how long it may take, and who must have seen a write before it is answered."""

from collections.abc import Iterable
from dataclasses import dataclass

GATEWAY = "gateway"
ORDERS = "crm"

_OWNERS = {
    "crm": ("customers", "customers:batch", "orders", "orders:batch", "notifications"),
    "erp": (
        "items",
        "suppliers",
        "stock",
        "purchase-orders",
        "shipments",
        "invoices",
        "supplier-checks",
        "ledger",
        "plans",
    ),
    "mes": (
        "work-centers",
        "machines",
        "work-orders",
        "operations",
        "batches",
        "inspections",
        "defects",
        "lots",
        "maintenance-orders",
    ),
    GATEWAY: ("me", "clients"),
}
_OWNER_OF_SEGMENT = {segment: owner for owner, segments in _OWNERS.items() for segment in segments}
_OWNER_OF_ORDER_PART = {"shipments": "erp", "invoices": "erp", "status": GATEWAY}
SERVICES = ("crm", "erp", "mes")

_SECONDS = 10.0
_BATCH_SECONDS = 60.0


def owner_of(path: str) -> str | None:
    """The service that answers a decoded public path such as ``/v1/orders/SO-000001``; None when nobody does."""
    segments = path.split("/")
    if segments[:2] != ["", "v1"] or len(segments) < 3 or "." in segments or ".." in segments:
        return None
    if segments[2] == "orders" and len(segments) > 4:
        return _OWNER_OF_ORDER_PART.get(segments[4], "crm")
    return _OWNER_OF_SEGMENT.get(segments[2])


def order_of_part(method: str, path: str) -> str | None:
    """The order whose parts a request lists, e.g. ``GET /v1/orders/SO-000001/shipments``; None for other requests."""
    match method, path.split("/"):
        case "GET", ["", "v1", "orders", order, _]:
            return order
    return None


def seconds_for(path: str) -> float:
    """How long the owner may take to answer."""
    return _BATCH_SECONDS if path.endswith(":batch") else _SECONDS


@dataclass(frozen=True)
class Barrier:
    """After a write, these event types must have reached this service: it guards the caller's next write."""

    service: str
    event_types: frozenset[str]


_CATALOGUE = Barrier("crm", frozenset({"erp.ItemDefined.v1"}))
_LOTS = Barrier("mes", frozenset({"erp.StockMoved.v1"}))
_HOLDS = Barrier(
    "erp", frozenset({"mes.LotHeld.v1", "mes.LotReleased.v1", "mes.LotScrapped.v1", "mes.DefectDetected.v1"})
)
_SHIPPING = Barrier(
    "crm", frozenset({"erp.FulfilmentChanged.v1", "erp.ShipmentShipped.v1", "erp.ShipmentDelivered.v1"})
)


def barrier_after(method: str, path: str) -> Barrier | None:
    """What a successful write waits for before it is answered, so that the caller reads its own writes."""
    if method != "POST":
        return None
    match path.split("/")[2:]:
        case ["items"] | ["items", _]:
            return _CATALOGUE
        case ["stock", "receipts" | "counts"] | ["purchase-orders", _, "receipts"]:
            return _LOTS
        case ["lots", _, "hold" | "release" | "scrap"] | ["inspections"] | ["defects"]:
            return _HOLDS
        case ["shipments", _, "ship" | "deliver"]:
            return _SHIPPING
    return None


def awaited_events(header: str, types: Iterable[str]) -> list[str]:
    """Ids of the events of these types in an ``X-Event-Ids`` header, a list of ``<id>;<type>``."""
    wanted = set(types)
    entries = (entry.strip().partition(";") for entry in header.split(",") if entry.strip())
    return [event_id for event_id, _, type_ in entries if type_ in wanted]
