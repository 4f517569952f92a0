"""Batches: many records in one transaction, each of which succeeds or fails by itself."""

from collections.abc import Mapping
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


def result(index: int, what: str, outcome: Mapping[str, Any] | Problem) -> dict[str, Any]:
    """How one record fared: 201 with the record under its name, or the problem's status with the problem."""
    if isinstance(outcome, Problem):
        problem = ProblemBody.model_validate_json(bytes(response(outcome).body))
        return {"index": index, "status": outcome.status, "problem": problem}
    return {"index": index, "status": 201, what: outcome}
