"""The MetaData all tables of the gateway share."""

from chassis.tables import new_metadata

metadata = new_metadata()
