"""The MES service: its capabilities put together."""

from chassis.service import Service
from mes.execution import tables as execution_tables
from mes.machines import tables as machines_tables
from mes.maintenance import tables as maintenance_tables
from mes.metadata import metadata
from mes.scheduling import tables as scheduling_tables
from mes.workorders import tables as workorders_tables

TABLES = (workorders_tables, execution_tables, scheduling_tables, machines_tables, maintenance_tables)

SERVICE = Service(name="mes", title="Orderloop MES", metadata=metadata, routers=[], consumers=[])
