"""The local platform: PostgreSQL, Kafka and the four services as plain processes on one machine."""

from devkit.platform.errors import PlatformError
from devkit.platform.platform import Platform

__all__ = ["Platform", "PlatformError"]
