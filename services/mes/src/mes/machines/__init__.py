"""Machines: work centers, machine states and their OEE."""
