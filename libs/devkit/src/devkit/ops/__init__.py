"""Operator verbs of `orderloop`: they read Kafka themselves and ask each service what only it knows."""
