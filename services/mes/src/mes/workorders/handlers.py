"""Events work orders follow."""

from collections.abc import Mapping
from types import MappingProxyType

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.erp import PlanCancelled, PlanChanged, PlanReleased
from mes.workorders import commands


async def on_plan_released(tx: Tx, event: PlanReleased, _meta: EventMeta) -> None:
    """A plan becomes a work order."""
    await commands.create(tx, event)


async def on_plan_changed(tx: Tx, event: PlanChanged, _meta: EventMeta) -> None:
    """The work order follows its plan."""
    await commands.change(tx, event)


async def on_plan_cancelled(tx: Tx, event: PlanCancelled, _meta: EventMeta) -> None:
    """The work order is withdrawn, or finished for no order."""
    await commands.withdraw(tx, event)


HANDLERS: Mapping[type[DomainEvent], Handler] = MappingProxyType(
    {PlanReleased: on_plan_released, PlanChanged: on_plan_changed, PlanCancelled: on_plan_cancelled}
)
