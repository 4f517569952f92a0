"""Lets a verified caller in unless it asks too often."""

import math
from dataclasses import dataclass
from time import monotonic

from chassis.http.auth import Principal, TokenVerifier
from chassis.http.problems import Problem
from gateway.access.rates import Rates


def too_many(seconds: float) -> Problem:
    """429: ask again after so many seconds."""
    wait = {"Retry-After": str(max(1, math.ceil(seconds)))}
    return Problem(429, "too_many_requests", "too many requests; wait", headers=wait)


@dataclass
class Admission:
    """Stands before the verifier of access tokens: who the token names is counted, not who claims to be it."""

    verifier: TokenVerifier
    rates: Rates

    async def verify(self, token: str) -> Principal:
        """The caller behind a token; raises 401 as the verifier does, 429 when it asks too often."""
        principal = await self.verifier.verify(token)
        if wait := self.rates.take(principal.client_id, monotonic()):
            raise too_many(wait)
        return principal
