"""Lots, what went into them and where they went: status, mass balance and genealogy in both directions."""
