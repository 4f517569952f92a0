"""The MES service: its capabilities put together."""

from chassis.messaging.handlers import merge
from chassis.service import Service
from mes.execution import api as execution
from mes.machines import api as machines
from mes.maintenance import api as maintenance
from mes.metadata import metadata
from mes.quality import api as quality
from mes.scheduling.worker import keep_schedule
from mes.traceability import api as lots
from mes.traceability import queries as lot_queries
from mes.traceability.handlers import HANDLERS as LOT_HANDLERS
from mes.workorders import api as workorders
from mes.workorders import queries as work_queries
from mes.workorders.handlers import HANDLERS as PLAN_HANDLERS

PLANS = merge("mes.plans", PLAN_HANDLERS)
LOTS = merge("mes.lots", LOT_HANDLERS)

SERVICE = Service(
    name="mes",
    title="Orderloop MES",
    metadata=metadata,
    routers=[
        workorders.router,
        execution.router,
        machines.router,
        maintenance.router,
        quality.router,
        lots.router,
    ],
    consumers=[PLANS, LOTS],
    worker_tasks=[keep_schedule],
    invariants={"work": work_queries.invariants, "lots": lot_queries.invariants},
)
