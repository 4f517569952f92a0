"""Stand-in for the mes service."""

from stand_in import main

if __name__ == "__main__":
    main("mes")
