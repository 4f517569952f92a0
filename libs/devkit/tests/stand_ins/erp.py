"""Stand-in for the erp service."""

from stand_in import main

if __name__ == "__main__":
    main("erp")
