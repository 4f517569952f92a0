"""Every topic of the platform and every event type on it; topics are created from here and nowhere else."""

import inspect
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

from contracts import crm, erp, mes
from contracts.envelope import Event


@dataclass(frozen=True)
class Topic:
    """One Kafka topic: one aggregate's events, in order per key."""

    name: str
    producer: str
    description: str
    partitions: int = 6
    # Read models are rebuilt from offset 0, so events are kept: -1 is for ever.
    retention_ms: int = -1


TOPICS: tuple[Topic, ...] = (
    Topic("crm.customer.events.v1", "crm", "customers"),
    Topic("crm.order.events.v1", "crm", "customer orders: placed, amended, cancelled"),
    Topic("crm.notification.events.v1", "crm", "notices to customers"),
    Topic("erp.item.events.v1", "erp", "items with their bills of materials and routings"),
    Topic("erp.stock.events.v1", "erp", "the stock ledger, row by row"),
    Topic("erp.fulfilment.events.v1", "erp", "promise and fulfilment of each customer order"),
    Topic("erp.plan.events.v1", "erp", "production plans released to the shop floor"),
    Topic("erp.purchase-order.events.v1", "erp", "purchase orders and goods received"),
    Topic("erp.shipment.events.v1", "erp", "shipments to customers"),
    Topic("erp.invoice.events.v1", "erp", "customer invoices"),
    Topic("erp.supplier-check.events.v1", "erp", "supplier quality checks"),
    Topic("mes.work-order.events.v1", "mes", "work orders, their schedule, progress and consumption"),
    Topic("mes.batch.events.v1", "mes", "finished batches and their lots"),
    Topic("mes.inspection.events.v1", "mes", "inspection results"),
    Topic("mes.defect.events.v1", "mes", "defects found"),
    Topic("mes.lot.events.v1", "mes", "lots held, released and scrapped"),
    Topic("mes.machine.events.v1", "mes", "machine states"),
    Topic("mes.maintenance.events.v1", "mes", "maintenance orders"),
)


def _events_of(module: ModuleType) -> dict[str, type[Event]]:
    classes = (member for _, member in inspect.getmembers(module, inspect.isclass))
    return {c.TYPE: c for c in classes if issubclass(c, Event) and "TYPE" in vars(c)}


EVENTS: MappingProxyType[str, type[Event]] = MappingProxyType({**_events_of(crm), **_events_of(erp), **_events_of(mes)})
"""Event class by its ``ce_type``."""
