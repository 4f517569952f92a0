"""The tables of the erp database and the column types they share."""

from decimal import Decimal

from sqlalchemy import Numeric

from chassis.tables import new_metadata

metadata = new_metadata()

QUANTITY: Numeric[Decimal] = Numeric(18, 6)
MONEY: Numeric[Decimal] = Numeric(18, 4)
