"""The erp service: items, stock, purchasing, planning, promising, fulfilment and the books."""

from chassis.messaging.handlers import merge
from chassis.service import Service
from erp.finance import api as finance
from erp.inventory import api as inventory
from erp.inventory import handlers as inventory_handlers
from erp.items import api as items
from erp.metadata import metadata
from erp.settings import ErpSettings

SERVICE = Service(
    name="erp",
    title="Orderloop ERP",
    metadata=metadata,
    settings=ErpSettings,
    routers=[items.router, inventory.router, finance.router],
    consumers=[merge("erp.loop", inventory_handlers.HANDLERS)],
)
