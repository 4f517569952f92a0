"""The erp service: items, stock, purchasing, planning, promising, fulfilment and the books."""

from chassis.messaging.handlers import merge
from chassis.service import Service
from erp.finance import api as finance
from erp.finance import queries as finance_queries
from erp.fulfilment import api as fulfilment
from erp.fulfilment import handlers as fulfilment_handlers
from erp.fulfilment import queries as fulfilment_queries
from erp.inventory import api as inventory
from erp.inventory import handlers as inventory_handlers
from erp.inventory import queries as inventory_queries
from erp.items import api as items
from erp.metadata import metadata
from erp.planning import api as planning
from erp.planning import handlers as planning_handlers
from erp.planning import queries as planning_queries
from erp.procurement import api as procurement
from erp.procurement import handlers as procurement_handlers
from erp.settings import ErpSettings

SERVICE = Service(
    name="erp",
    title="Orderloop ERP",
    metadata=metadata,
    settings=ErpSettings,
    routers=[
        items.router,
        inventory.router,
        procurement.router,
        planning.router,
        fulfilment.router,
        finance.router,
    ],
    invariants={
        "stock": inventory_queries.invariants,
        "planning": planning_queries.invariants,
        "shipments": fulfilment_queries.invariants,
        "books": finance_queries.invariants,
    },
    consumers=[
        merge(
            "erp.loop",
            fulfilment_handlers.HANDLERS,
            planning_handlers.HANDLERS,
            inventory_handlers.HANDLERS,
            procurement_handlers.HANDLERS,
            # All planning is under one lock.
            serial=True,
        )
    ],
)
