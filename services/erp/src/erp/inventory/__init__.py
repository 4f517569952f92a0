"""Stock: balances, lots, reservations and the append-only ledger."""
