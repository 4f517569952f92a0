"""Customers: master data of those who order."""
