"""The public keys that tokens are verified with: Ed25519 (RFC 8037), by their names."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from .errors import Misconfigured
from .api import Edict, Unreachable
from .strictjson import parse

_log = logging.getLogger("edict_fastapi")


class Keys(Protocol):
    """Where keys come from."""

    def find(self, name: str) -> Ed25519PublicKey | None:
        """The key of a name (kid), or None. It is called from several threads at once."""


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def thumbprint(key: Ed25519PublicKey) -> str:
    """The name that Edict gives to a key (RFC 7638)."""
    x = base64.urlsafe_b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).rstrip(b"=").decode()
    digest = hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def from_jwks(jwks: Any) -> dict[str, Ed25519PublicKey]:
    """The keys of a JWK set (RFC 7517) that can be of Edict, by kid.

    ValueError if it is none, or one kid stands for two keys. Keys of other types or uses
    are passed over, as §5 of the RFC says.
    """
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise ValueError("no JWK set")
    out: dict[str, Ed25519PublicKey] = {}
    for jwk in jwks["keys"]:
        if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519"):
            continue
        if jwk.get("use", "sig") != "sig" or jwk.get("alg", "EdDSA") not in ("EdDSA", "Ed25519"):
            continue
        kid, x = jwk.get("kid"), jwk.get("x")
        if not isinstance(kid, str) or not isinstance(x, str):
            raise ValueError("a key without kid or x")
        if kid in out:
            raise ValueError("one kid stands for two keys")
        try:
            out[kid] = Ed25519PublicKey.from_public_bytes(_base64url(x))
        except binascii.Error as e:
            raise ValueError("a key whose x is not base64url") from e
    return out


class StaticKeys:
    """Keys that are given: a JWK set, or public keys in PEM, which have Edict's names."""

    def __init__(self, keys: Mapping[str, Any] | str | bytes):
        self._keys = _read(keys)

    def find(self, name: str) -> Ed25519PublicKey | None:
        return self._keys.get(name)


def _read(keys: Mapping[str, Any] | str | bytes) -> dict[str, Ed25519PublicKey]:
    try:
        if isinstance(keys, Mapping):
            out = from_jwks(dict(keys))
        else:
            text = keys.encode() if isinstance(keys, str) else keys
            out = _from_pem(text) if b"-----BEGIN" in text else from_jwks(parse(text))
    except (ValueError, UnsupportedAlgorithm) as e:
        raise Misconfigured(f"no keys of Edict: {e}") from e
    if not out:
        raise Misconfigured("there is no Ed25519 key among the keys of Edict")
    return out


_END = b"-----END PUBLIC KEY-----"


def _from_pem(text: bytes) -> dict[str, Ed25519PublicKey]:
    out = {}
    *blocks, rest = text.split(_END)
    if not blocks or b"-----BEGIN" in rest:
        raise ValueError("PEM of something else than public keys")
    for block in blocks:
        key = load_pem_public_key(block.strip() + b"\n" + _END + b"\n")
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a public key that is not of Ed25519")
        out[thumbprint(key)] = key
    return out


class _Renewed:
    """Keys that are read again: when they are old, and when an unknown one is named.

    A reading that fails leaves the keys that there are, until they are too old to trust.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, Ed25519PublicKey]],
        fresh: float,
        trusted: float,
        pause: float,
        clock: Callable[[], float],
    ):
        self._read, self._fresh, self._trusted, self._pause, self._clock = read, fresh, trusted, pause, clock
        self._lock = threading.Lock()
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._read_at: float | None = None  # when the keys were read
        self._tried_at: float | None = None

    def find(self, name: str) -> Ed25519PublicKey | None:
        now = self._clock()
        # Once, since another thread may put others in their place at any time.
        key = self._keys.get(name)
        if key is not None and self._age(now) <= self._fresh:
            return key
        # One thread reads. Others wait for it, since their key may be the new one.
        with self._lock:
            now = self._clock()
            stale = name not in self._keys or self._age(now) > self._fresh
            if stale and (self._tried_at is None or now - self._tried_at >= self._pause):
                self._tried_at = now
                self._renew(now)
            return self._keys.get(name) if self._age(now) <= self._trusted else None

    def _age(self, now: float) -> float:
        return float("inf") if self._read_at is None else now - self._read_at

    def _renew(self, now: float) -> None:
        try:
            self._keys = self._read()
            self._read_at = now
        except (Unreachable, Misconfigured, ValueError, OSError) as e:
            _log.warning("the keys of Edict could not be read: %s", e)


class KeysFromEdict(_Renewed):
    """Edict's own keys, from its API.

    They are kept for fresh seconds, and asked for again after that or when a token names
    an unknown one, but not within pause seconds. While Edict does not answer they are
    good for trusted seconds.
    """

    def __init__(
        self,
        edict: Edict,
        *,
        fresh: float = 300,
        trusted: float = 3600,
        pause: float = 5,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(lambda: from_jwks(edict.keys()), fresh, trusted, pause, clock)


class KeysFromFile(_Renewed):
    """Keys in a file, a JWK set or PEM, which is read again as KeysFromEdict asks again.

    A file that can't be read at the start is Misconfigured.
    """

    def __init__(self, file: str | Path, *, pause: float = 5, clock: Callable[[], float] = time.monotonic):
        path = Path(file)

        def read() -> dict[str, Ed25519PublicKey]:
            return _read(path.read_bytes())

        super().__init__(read, 60, float("inf"), pause, clock)
        try:
            self._keys = read()
        except OSError as e:
            raise Misconfigured(f"{file}: {e.strerror}") from e
        self._read_at = clock()
