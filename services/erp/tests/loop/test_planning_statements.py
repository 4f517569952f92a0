"""Planning takes a fixed number of statements, however many components an order explodes into."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

# Measured, with a little room; a statement per component would be far beyond it.
MOST_PER_NEW_ORDER = 45
MOST_PER_BATCH = 45
MOST_PER_CONSUMPTION = 30


@contextmanager
def counted(factory: Any) -> Iterator[list[str]]:
    """Statements the service's database executes inside the block."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    engine = factory.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


async def bike(factory: Any, name: str, parts: int) -> None:
    """A bike of `parts` assemblies, each of one made part of three bought ones."""
    for number in range(parts):
        for bought in range(3):
            await factory.buy(f"{name}-RAW-{number}-{bought}", supplier=f"SUP-{bought}")
        await factory.make(f"{name}-PART-{number}", {f"{name}-RAW-{number}-{b}": "2" for b in range(3)})
        await factory.make(f"{name}-ASSEMBLY-{number}", {f"{name}-PART-{number}": "1"})
    await factory.make(name, {f"{name}-ASSEMBLY-{number}": "1" for number in range(parts)})


async def handled(factory: Any, *events: Any) -> list[str]:
    """Statements it takes to handle events, one transaction each."""
    with counted(factory) as statements:
        for happened in events:
            await factory.deliver(happened)
    return statements


async def test_statements_do_not_grow_with_the_bill_of_materials(factory: Any) -> None:
    """Two assemblies or ten: the same statements plan an order, receive a batch and consume components."""
    await bike(factory, "SMALL", 2)
    await bike(factory, "LARGE", 10)
    counts: dict[str, list[int]] = {"order": [], "consumption": [], "batch": []}
    for name, parts in (("SMALL", 2), ("LARGE", 10)):
        for number in range(parts):
            for bought in range(3):
                await factory.stock(f"{name}-RAW-{number}-{bought}", 3, f"{name}-{number}-{bought}")
        order = factory.order((name, 5))
        counts["order"].append(len(await handled(factory, factory.placed(order))))
        (part,) = await factory.plans(f"{name}-PART-0")
        used = [(f"{name}-RAW-0-{bought}", f"{name}-0-{bought}", 3) for bought in range(3)]
        counts["consumption"].append(len(await handled(factory, factory.consumed(part, *used))))
        batch = factory.batch(part, 5, f"{name}-L")
        counts["batch"].append(len(await handled(factory, batch)))
    assert counts["order"][0] == counts["order"][1] <= MOST_PER_NEW_ORDER, counts
    assert counts["consumption"][0] == counts["consumption"][1] <= MOST_PER_CONSUMPTION, counts
    assert counts["batch"][0] == counts["batch"][1] <= MOST_PER_BATCH, counts
