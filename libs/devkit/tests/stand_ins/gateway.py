"""Stand-in for the gateway service."""

from stand_in import main

if __name__ == "__main__":
    main("gateway")
