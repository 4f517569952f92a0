"""Stand-in for the erp service."""

from stand_in import main

main("erp")
