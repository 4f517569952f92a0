"""Schema migrations of the erp database."""
