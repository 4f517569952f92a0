"""Generates and guards what is published about the contracts: JSON Schemas, AsyncAPI, OpenAPI, the event catalogue."""
