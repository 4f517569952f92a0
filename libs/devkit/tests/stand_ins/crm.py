"""Stand-in for the crm service."""

from stand_in import main

main("crm")
