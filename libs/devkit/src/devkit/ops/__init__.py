"""Operator verbs of `orderloop`: they read Kafka themselves and ask each service through its own command line."""
