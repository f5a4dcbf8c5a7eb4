"""The demo's identity provider: five people, one signing key, their tokens.

Everything is kept in the folder .demo, which git ignores: the private key and the
tokens readable by their owner alone, the public keys (JWKS) by everybody.
"""

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Both are named in envoy/envoy.yaml too, which verifies them.
ISSUER = "https://idp.edict.example/"
AUDIENCE = "expenses"

# The claims of each person's token. Edict makes "sub" the principal's id and "roles"
# its roles, and lets policies read all claims as the principal's attributes.
PEOPLE = {
    "alice": {"roles": ["employee"], "regions": ["emea"]},
    "bob": {"roles": ["employee", "manager"], "regions": ["emea"], "approvalLimit": 1000},
    "carol": {"roles": ["auditor"]},
    "dave": {"roles": ["employee", "manager"], "regions": ["apac"], "approvalLimit": 500},
    "eve": {"roles": ["visitor"], "regions": ["emea"]},  # a role that no policy knows
}

LIFETIME = timedelta(hours=8)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def token(key: ec.EllipticCurvePrivateKey, who: str, lifetime: timedelta = LIFETIME) -> str:
    """A signed token of one of PEOPLE; with a negative lifetime one that has expired."""
    now = datetime.now(timezone.utc)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": who,
        "iat": now + min(lifetime, timedelta()) - timedelta(minutes=1),
        "exp": now + lifetime,
        **PEOPLE[who],
    }
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "demo"})


def load_key(state: Path) -> ec.EllipticCurvePrivateKey:
    """The key kept in state; made on first use, so that tokens outlive a restart."""
    file = state / "key.pem"
    if not file.exists():
        pem = new_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write(file, pem, 0o600)
    return serialization.load_pem_private_key(file.read_bytes(), password=None)


def write_keys(state: Path) -> ec.EllipticCurvePrivateKey:
    """Writes jwks.json and tokens/<who>.jwt into state, and returns the signing key."""
    state.mkdir(parents=True, exist_ok=True)
    key = load_key(state)
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    public.update(kid="demo", use="sig", alg="ES256")
    write(state / "jwks.json", json.dumps({"keys": [public]}, indent=2).encode() + b"\n", 0o644)
    (state / "tokens").mkdir(exist_ok=True)
    for who in PEOPLE:
        write(state / "tokens" / f"{who}.jwt", token(key, who).encode(), 0o600)
    return key


def write(file: Path, content: bytes, mode: int) -> None:
    """Writes file whole or not at all, never for a moment with a wider mode."""
    part = file.with_name(file.name + ".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        os.fchmod(out.fileno(), mode)  # whatever the umask took away
        out.write(content)
    part.replace(file)
