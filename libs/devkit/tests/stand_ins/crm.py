"""Stand-in for the crm service."""

from stand_in import main

if __name__ == "__main__":
    main("crm")
