"""What a measurement gives."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    what: str
    value: float
    unit: str

    def row(self) -> dict[str, Any]:
        """The figure as JSON."""
        return asdict(self)
