"""The erp service: items, stock, purchasing, planning, promising, fulfilment and the books."""

from chassis.service import Service
from erp.finance import commands as _finance  # noqa: F401
from erp.inventory import commands as _inventory  # noqa: F401
from erp.metadata import metadata
from erp.settings import ErpSettings

SERVICE = Service(
    name="erp",
    title="Orderloop ERP",
    metadata=metadata,
    settings=ErpSettings,
    routers=[],
    consumers=[],
)
