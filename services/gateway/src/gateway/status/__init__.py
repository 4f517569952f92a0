"""The order-status view: facts folded from every service's events, one view computed from them when it is read."""
