"""Generate every secret of a compose deployment once, each into the volume of the container that needs it.

Usage: make_secrets.py FOLDER, where FOLDER holds one mounted folder per reader. What exists is kept.
"""

import hashlib
import json
import os
import secrets
import sys
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

SERVICES = ("crm", "erp", "mes", "gateway")
ROLES = ("customer", "sales", "planner", "operator", "warehouse", "quality", "finance", "people", "admin")
DEMO_CUSTOMER = "C-1000"
# The uid of postgres in its official image, and of our own images.
POSTGRES_UID, SERVICE_UID = 999, 10001


def write(path: Path, text: str, uid: int) -> None:
    """A file only its reader can read."""
    path.write_text(text)
    path.chmod(0o400)
    os.chown(path, uid, uid)


def public_keys(key: Ed25519PrivateKey) -> str:
    """The JSON Web Key Set of the signing key; the key id is its RFC 7638 thumbprint."""
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    members = json.dumps({name: public[name] for name in ("crv", "kty", "x")}, separators=(",", ":"), sort_keys=True)
    thumbprint = jwt.utils.base64url_encode(hashlib.sha256(members.encode()).digest()).decode()
    return json.dumps({"keys": [{**public, "kid": thumbprint, "alg": "EdDSA", "use": "sig"}]})


def main(folder: Path) -> None:
    """Write all secrets; a second run finds the last file written and leaves everything alone."""
    done = folder / "clients" / "credentials.json"
    if done.exists():
        return
    write(folder / "postgres" / "postgres", secrets.token_urlsafe(24), POSTGRES_UID)
    key = Ed25519PrivateKey.generate()
    for service in SERVICES:
        password = secrets.token_urlsafe(24)
        write(folder / "postgres" / service, password, POSTGRES_UID)
        url = f"postgresql+asyncpg://{service}:{password}@postgres:5432/{service}"
        write(folder / service / "orderloop_database_url", url, SERVICE_UID)
        write(folder / service / "jwks.json", public_keys(key), SERVICE_UID)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    write(folder / "gateway" / "signing-key.pem", pem, SERVICE_UID)
    clients = {role: {"client_id": f"demo-{role}", "client_secret": secrets.token_urlsafe(32)} for role in ROLES}
    known = [
        {
            "client_id": client["client_id"],
            "client_secret_sha256": hashlib.sha256(client["client_secret"].encode()).hexdigest(),
            "role": role,
            "customer": DEMO_CUSTOMER if role == "customer" else None,
        }
        for role, client in clients.items()
    ]
    write(folder / "gateway" / "clients.json", json.dumps(known), SERVICE_UID)
    write(done, json.dumps(clients), SERVICE_UID)


main(Path(sys.argv[1]))
