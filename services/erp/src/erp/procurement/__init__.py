"""Purchase orders, goods receipts and supplier quality checks."""
