"""Maintenance: an order for every stop of a machine."""
