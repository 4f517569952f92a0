"""Settings of the erp service."""

from functools import cache

from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.settings import ServiceSettings
from contracts.values import Currency


class HouseSettings(BaseSettings):
    """What holds for the whole company."""

    model_config = SettingsConfigDict(env_prefix="ORDERLOOP_", extra="ignore")

    currency: Currency = "EUR"


class ErpSettings(ServiceSettings, HouseSettings):
    """Settings of the erp service; the house currency is the one stock and purchases are valued in."""


@cache
def house_currency() -> str:
    """ISO 4217 code of the currency the company keeps its books in."""
    return HouseSettings().currency
