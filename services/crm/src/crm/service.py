"""The CRM service: what it serves and what it consumes."""

from pydantic import Field

from chassis.messaging.handlers import merge
from chassis.service import Service
from chassis.settings import ServiceSettings
from crm.customers import api as customers
from crm.metadata import metadata
from crm.notifications import api as notifications
from crm.notifications import queries as notification_queries
from crm.orders import api as orders
from crm.orders import handlers
from crm.orders import queries as order_queries


class CrmSettings(ServiceSettings):
    """Settings of CRM."""

    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$", description="house currency, the catalogue's")


SERVICE = Service(
    name="crm",
    title="Orderloop CRM",
    metadata=metadata,
    routers=[customers.router, orders.router, notifications.router],
    consumers=[
        merge("crm.catalogue", handlers.CATALOGUE_HANDLERS),
        merge("crm.order-state", handlers.STATE_HANDLERS),
    ],
    invariants={"orders": order_queries.invariants, "notices": notification_queries.invariants},
    settings=CrmSettings,
)
