"""Stand-in for the mes service."""

from stand_in import main

main("mes")
