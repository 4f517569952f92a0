"""Batches: many records in one transaction, each of which succeeds or fails by itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from chassis.http.problems import FieldError, Problem, ProblemBody, broken_rules, response

T = TypeVar("T")


def read(adapter: TypeAdapter[T], value: Any) -> "T | Problem":
    """One record of a batch, or why it is refused; fields are named within the record."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        return broken_rules(
            [
                FieldError(field="".join(f"/{part}" for part in found["loc"]), rule=found["type"], message=found["msg"])
                for found in error.errors()
            ]
        )


async def write_each(
    what: str,
    records: "Sequence[T | Problem]",
    write: Callable[[list[T]], Awaitable[Sequence[Mapping[str, Any] | Problem]]],
) -> dict[str, Any]:
    """Write the records that could be read; one result each, in the order given, the record under the name `what`."""
    outcomes = iter(await write([record for record in records if not isinstance(record, Problem)]))
    fared = [record if isinstance(record, Problem) else next(outcomes) for record in records]
    return {"items": [_result(index, what, outcome) for index, outcome in enumerate(fared)]}


def _result(index: int, what: str, outcome: Mapping[str, Any] | Problem) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        problem = ProblemBody.model_validate_json(bytes(response(outcome).body))
        return {"index": index, "status": outcome.status, "problem": problem}
    return {"index": index, "status": 201, what: outcome}
