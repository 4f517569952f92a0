"""Migrations of the CRM database."""
