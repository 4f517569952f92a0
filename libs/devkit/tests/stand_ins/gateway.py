"""Stand-in for the gateway service."""

from stand_in import main

main("gateway")
