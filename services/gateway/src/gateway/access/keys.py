"""The key that signs access tokens, and the keys that verify them."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chassis.http.auth import ALGORITHM
from gateway.access.rules import derived_secret, thumbprint


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 private key."""

    private: Ed25519PrivateKey

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """The key in a PEM file; raises ValueError when it is no Ed25519 private key."""
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path} holds no Ed25519 private key")
        return cls(key)

    @cached_property
    def public_jwk(self) -> dict[str, Any]:
        """The public half as a JSON Web Key; its `kid` is the RFC 7638 thumbprint."""
        jwk = jwt.algorithms.OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**jwk, "kid": thumbprint(jwk), "alg": ALGORITHM, "use": "sig"}

    @cached_property
    def jwk(self) -> jwt.PyJWK:
        """The key to sign with."""
        private = jwt.algorithms.OKPAlgorithm.to_jwk(self.private, as_dict=True)
        return jwt.PyJWK({**private, "kid": self.public_jwk["kid"], "alg": ALGORITHM})

    def secret_of(self, client: str) -> str:
        """Secret of a client made here; the same each time it is asked for."""
        return derived_secret(self.private.private_bytes_raw(), client)


@dataclass
class KeyFiles:
    """The key that signs and the set that verifies, read again when a file changed: keys rotate without a restart."""

    signing_key_file: Path
    jwks_file: Path
    _signing: tuple[int, SigningKey] | None = field(default=None, init=False)

    def signing_key(self) -> SigningKey:
        """The key to sign with; raises OSError or ValueError when it cannot be read."""
        changed = self.signing_key_file.stat().st_mtime_ns
        if self._signing is None or self._signing[0] != changed:
            self._signing = changed, SigningKey.load(self.signing_key_file)
        return self._signing[1]

    def public_keys(self) -> list[dict[str, Any]]:
        """All keys that verify, JSON Web Keys of the set: while keys rotate it is more than the signing one."""
        return list(json.loads(self.jwks_file.read_text())["keys"])
