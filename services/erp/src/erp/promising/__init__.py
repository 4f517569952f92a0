"""When an order will arrive, and why then."""
