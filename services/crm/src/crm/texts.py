"""Text and whole-number types of requests: no control characters, nothing guessed from another JSON type."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

# Default of a field that may be left out but not be null.
LEFT_OUT: Any = None

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_PRINTABLE)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100, pattern=_PRINTABLE)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_PRINTABLE)]
Email = Annotated[
    str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f]+$")
]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_PRINTABLE)]
Priority = Annotated[int, Field(strict=True, ge=0, le=99, description="higher is served first")]
