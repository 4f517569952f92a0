"""The double-entry ledger and customer invoices."""
