"""Value types shared by events and public records: quantities, money, days and times."""

import re
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

MAX_QUANTITY = Decimal(1_000_000_000)
MAX_MONEY = Decimal(1_000_000_000_000)

_YEAR = re.compile(r"[0-9]{4}-")
# ISO 4217 currencies whose minor unit is not 1/100.
_MINOR_UNIT_DIGITS = {
    "JPY": 0,
    "KRW": 0,
    "VND": 0,
    "CLP": 0,
    "ISK": 0,
    "BHD": 3,
    "KWD": 3,
    "OMR": 3,
    "TND": 3,
    "JOD": 3,
}


def plain(value: Decimal) -> str:
    """Decimal as the shortest plain string: ``4.000000`` → ``"4"``, never an exponent."""
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def money_text(value: Decimal) -> str:
    """Decimal money with at least two decimals: ``12.5`` → ``"12.50"``, ``0.0512`` stays."""
    text = plain(value)
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def minor_units(amount: Decimal, currency: str) -> Decimal:
    """Round an amount half-even to the minor unit of its ISO 4217 currency."""
    digits = _MINOR_UNIT_DIGITS.get(currency, 2)
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)


def _no_number(value: Any) -> Any:
    # Left to pydantic, a number would be read as a Unix timestamp.
    if isinstance(value, int | float) or (isinstance(value, str) and not _YEAR.match(value)):
        raise ValueError("a time is written as RFC 3339 says, e.g. 2026-01-31T12:00:00Z")
    return value


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def time_text(value: datetime) -> str:
    """RFC 3339 in UTC with ``Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# How values are published: decimals as plain text, times in UTC.
_DECIMAL_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}, mode="serialization")
_TIME_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")
_AS_NUMBER_TEXT = (PlainSerializer(plain, return_type=str, when_used="json"), _DECIMAL_SCHEMA)
_AS_MONEY_TEXT = (PlainSerializer(money_text, return_type=str, when_used="json"), _DECIMAL_SCHEMA)
_AS_TIME_TEXT = (PlainSerializer(time_text, return_type=str, when_used="json"), _TIME_SCHEMA)

Quantity = Annotated[
    Decimal,
    Field(ge=0, le=MAX_QUANTITY, max_digits=18, decimal_places=6),
    *_AS_NUMBER_TEXT,
]
PositiveQuantity = Annotated[
    Decimal,
    Field(gt=0, le=MAX_QUANTITY, max_digits=18, decimal_places=6),
    *_AS_NUMBER_TEXT,
]
SignedQuantity = Annotated[
    Decimal,
    Field(ge=-MAX_QUANTITY, le=MAX_QUANTITY),
    *_AS_NUMBER_TEXT,
]
Money = Annotated[
    Decimal,
    Field(ge=0, le=MAX_MONEY, max_digits=18, decimal_places=4),
    *_AS_MONEY_TEXT,
]
SignedMoney = Annotated[
    Decimal,
    Field(ge=-MAX_MONEY, le=MAX_MONEY),
    *_AS_MONEY_TEXT,
]
Percent = Annotated[Decimal, Field(ge=0, le=100), *_AS_NUMBER_TEXT]
UtcTime = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_to_utc), *_AS_TIME_TEXT]
Day = date
# A code stands in URL paths, so it has no separator of theirs, no control character and no space at its ends.
Code = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=64, pattern=r"^[^\s/?#%\x00-\x1f]([^/?#%\x00-\x1f]*[^\s/?#%\x00-\x1f])?$"
    ),
]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Text = Annotated[str, StringConstraints(max_length=1000)]
