"""Notifications: what customers were told about their orders, and why."""
