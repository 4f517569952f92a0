"""The local platform: PostgreSQL, Kafka and the four services as plain processes on one machine."""
