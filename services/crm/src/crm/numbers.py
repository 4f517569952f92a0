"""Human numbers in bulk."""

from sqlalchemy import Sequence, func, select

from chassis.db import Reader


async def draw(reader: Reader, sequence: Sequence, prefix: str, count: int) -> list[str]:
    """The next `count` human numbers, e.g. ``SO-000123``, in one statement."""
    drawn = await reader.execute(select(sequence.next_value()).select_from(func.generate_series(1, count)))
    return [f"{prefix}-{value:06d}" for value in drawn.scalars()]
