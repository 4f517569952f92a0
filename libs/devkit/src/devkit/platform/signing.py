"""The key that signs access tokens and the key set that verifies them, and changing the key while everything runs."""

import base64
import hashlib
import json
import os
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from devkit.platform.errors import PlatformError

Jwk = dict[str, str]


class KeyRing:
    """`signing-key.pem` and `jwks.json` of one folder; `signing-key.next.pem` while a new key is announced."""

    def __init__(self, folder: Path) -> None:
        self.signing_key = folder / "signing-key.pem"
        self.next_key = folder / "signing-key.next.pem"
        self.jwks = folder / "jwks.json"

    def ensure(self) -> None:
        """A signing key, made when missing, and a key set it is in; raises PlatformError when a file is damaged."""
        if not self.signing_key.exists():
            _write_key(self.signing_key)
            self._publish([_public(self.signing_key)])
        elif _public(self.signing_key) not in self._published():
            self._publish([_public(self.signing_key), *self._published()])

    def ids(self) -> dict[str, str]:
        """What each published key is for, by its id: `signing`, `next` or `old`."""
        roles = {_public(self.signing_key)["kid"]: "signing"}
        if self.next_key.exists():
            roles[_public(self.next_key)["kid"]] = "next"
        return {key["kid"]: roles.get(key["kid"], "old") for key in self._published()}

    def add(self) -> str:
        """Announce a new key, so that it verifies before it signs; its id. Repeating changes nothing."""
        if not self.next_key.exists():
            _write_key(self.next_key)
        key = _public(self.next_key)
        if key not in self._published():
            self._publish([*self._published(), key])
        return key["kid"]

    def use(self) -> str:
        """Sign with the announced key from now on; its id. Raises PlatformError when none is announced."""
        if not self.next_key.exists():
            raise PlatformError("no new key is announced: run `orderloop keys add` first")
        kid = _public(self.next_key)["kid"]
        self.next_key.replace(self.signing_key)
        return kid

    def remove(self) -> list[str]:
        """Refuse tokens of old keys; the ids removed."""
        old = [kid for kid, role in self.ids().items() if role == "old"]
        if old:
            self._publish([key for key in self._published() if key["kid"] not in old])
        return old

    def _published(self) -> list[Jwk]:
        try:
            return list(json.loads(self.jwks.read_text())["keys"])
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise PlatformError(f"{self.jwks} is damaged ({error}): remove this file and start again") from error

    def _publish(self, keys: list[Jwk]) -> None:
        write_private(self.jwks, json.dumps({"keys": keys}))


def _write_key(path: Path) -> None:
    made = Ed25519PrivateKey.generate()
    write_private(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _public(path: Path) -> Jwk:
    """The public half of a key file as a JWK, `kid` being its RFC 7638 thumbprint."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise PlatformError(f"{path} is damaged ({error}): remove this file and start again") from error
    except OSError as error:
        raise PlatformError(f"{path} cannot be read ({error.strerror})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PlatformError(f"{path} is no Ed25519 key: remove this file and start again")
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    required = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).decode().rstrip("=")
    return {**jwk, "kid": thumbprint, "alg": "EdDSA", "use": "sig"}


def write_private(path: Path, text: str) -> None:
    """Write a file only we can read, whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
