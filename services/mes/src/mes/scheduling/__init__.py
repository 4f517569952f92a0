"""Scheduling: the finite schedule of all open operations."""
