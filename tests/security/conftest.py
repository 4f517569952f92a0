"""The apps the security tests ask."""

from contract.conftest import quiet, surface

__all__ = ["quiet", "surface"]
