"""What MES finds wrong with bought goods."""

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.mes import DefectDetected
from erp.procurement import commands


async def on_defect_detected(tx: Tx, event: DefectDetected, meta: EventMeta) -> None:
    """The suppliers of suspected lots are checked."""
    await commands.open_supplier_checks(tx, event, meta.event_id)


HANDLERS: dict[type[DomainEvent], Handler] = {DefectDetected: on_defect_detected}
