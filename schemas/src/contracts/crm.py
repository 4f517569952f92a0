"""Events published by CRM."""

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from contracts.envelope import Event, Part
from contracts.values import Code, Currency, Day, Money, PositiveQuantity, Text, UtcTime


class CustomerEvent(Event):
    TOPIC: ClassVar[str] = "crm.customer.events.v1"
    KEY: ClassVar[str] = "customer_id"

    customer_id: UUID
    number: str
    name: str
    email: str | None = None
    priority: int = Field(default=0, ge=0, le=99, description="higher is served first")


class CustomerRegistered(CustomerEvent):
    """A customer exists from now on."""

    TYPE: ClassVar[str] = "crm.CustomerRegistered.v1"


class CustomerChanged(CustomerEvent):
    """Master data of a customer changed; carries the whole new state."""

    TYPE: ClassVar[str] = "crm.CustomerChanged.v1"


class OrderLine(Part):
    line: int = Field(ge=1)
    item: Code
    quantity: PositiveQuantity
    unit_price: Money
    options: dict[str, str] = Field(default_factory=dict)


class OrderEvent(Event):
    TOPIC: ClassVar[str] = "crm.order.events.v1"
    KEY: ClassVar[str] = "order_id"

    order_id: UUID
    number: str


class OrderState(OrderEvent):
    customer_id: UUID
    customer: str = Field(description="the customer's number")
    customer_reference: str | None = None
    requested_date: Day
    priority: int = Field(ge=0, le=99)
    currency: Currency
    lines: list[OrderLine] = Field(min_length=1)


class OrderPlaced(OrderState):
    """A customer placed an order; carries the whole order."""

    TYPE: ClassVar[str] = "crm.OrderPlaced.v1"

    placed_at: UtcTime


class OrderAmended(OrderState):
    """The order changed before shipment; carries the whole new state. A line that is gone was withdrawn."""

    TYPE: ClassVar[str] = "crm.OrderAmended.v1"

    changed: list[str] = Field(description="names of the changed fields, lines as lines/<line>")


class OrderCancelled(OrderEvent):
    """The customer withdrew whatever had not been shipped yet."""

    TYPE: ClassVar[str] = "crm.OrderCancelled.v1"

    reason: Text


class CustomerNotified(Event):
    """A notice to a customer was recorded for sending; once per cause event and order."""

    TYPE: ClassVar[str] = "crm.CustomerNotified.v1"
    TOPIC: ClassVar[str] = "crm.notification.events.v1"
    KEY: ClassVar[str] = "notification_id"

    notification_id: UUID
    order_id: UUID
    order: str = Field(description="the order's number")
    customer: str
    milestone: str
    text: Text
    cause_event_id: str
