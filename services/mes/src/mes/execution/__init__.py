"""Execution: operations started, paused and reported at their machines."""
