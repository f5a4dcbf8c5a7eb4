"""Tokens as Edict makes them, and requests as an ASGI server tells of them."""

import asyncio
import base64
import hashlib
import json
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edict_fastapi import FilterVerifier
from edict_fastapi.keys import thumbprint

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
NOW = int(time.time())  # to all verifiers of tests; tokens are made when tests are collected
ALWAYS = {"kind": "KIND_ALWAYS_ALLOWED"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(key=KEY, **members):
    public = key.public_key()
    out = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw()), "kid": thumbprint(public), "use": "sig", "alg": "EdDSA"}
    return out | members


def jwks(*keys):
    return {"keys": [jwk(k) for k in keys or (KEY,)]}


def clock():
    return float(NOW)


def verifier(**options):
    """A verifier that knows Edict's key, and stands in the time of the tokens."""
    given = {} if {"keys", "keys_url", "edict"} & options.keys() else {"keys": jwks()}
    return FilterVerifier(**{"clock": clock} | given | options)


def sign(header, payload: bytes, key=KEY) -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


_made = 0


def claims(**changes):
    """The claims of a token for GET /expenses of alice; None leaves one out."""
    global _made
    _made += 1
    out = {
        "iss": "edict", "iat": NOW, "exp": NOW + 30, "jti": f"decision-{_made}", "sub": "alice", "mth": "GET",
        "pth": "/expenses", "hst": "expenses.example", "knd": "expense", "act": ["list"], "flt": ALWAYS,
    }  # fmt: skip
    return {name: value for name, value in (out | changes).items() if value is not None}


def header(key=KEY, **changes):
    return {"alg": "EdDSA", "kid": thumbprint(key.public_key()), "typ": "edict-filter+jwt"} | changes


def token(key=KEY, **changes) -> str:
    return sign(header(key), json.dumps(claims(**changes)).encode(), key)


def hash_of(query: str) -> str:
    return b64(hashlib.sha256(query.encode()).digest())


def scope(token=None, *, method="GET", path="/expenses", query="", host="expenses.example", principal="alice", more=()):
    """A request as uvicorn tells of it."""
    headers = [("host", host), ("x-edict-principal", principal), ("x-edict-filter", token), *more]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(n.encode(), v.encode("latin-1")) for n, v in headers if v is not None],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


async def answer_to(app, scope):
    """Status, headers and body that an app answers with."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    headers = {n.decode(): v.decode() for n, v in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


def ask(app, scope):
    return asyncio.run(answer_to(app, scope))
