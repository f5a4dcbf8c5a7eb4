"""Verifies that a request brought a filter of Edict, made for it and used once.

What always holds here: a filter is given only if the token is signed by Edict, is in
force, was not used, and names this request's method, path, query, host and principal.
All else is Refused, without telling the client why.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import jwt

from .errors import Misconfigured, Refused
from .api import Edict, Unreachable
from .keys import Keys, KeysFromEdict, KeysFromFile, StaticKeys
from .replay import MemoryReplayStore, ReplayStore
from .strictjson import parse

TYPE = "edict-filter+jwt"
ISSUER = "edict"

# Edict makes no token that lives longer (seconds).
_MAX_LIFETIME = 600

_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")
_HANDLE = re.compile(r"[A-Za-z0-9_-]{43}")
# The name of a claim, and the type that it has.
_CLAIMS: dict[str, type] = {
    "iss": str, "iat": int, "exp": int, "jti": str, "sub": str, "mth": str, "pth": str, "hst": str, "knd": str, "act": list,
}  # fmt: skip
_OPTIONAL: dict[str, type] = {"qsh": str, "flt": dict, "hdl": str}


@dataclass(frozen=True)
class Filter:
    """What a verified token says.

    filter is `flt`: {"kind": …, "condition": …}. kind is the resource's, actions are those
    that the principal may perform on the rows.
    """

    filter: Mapping[str, Any]
    kind: str
    actions: tuple[str, ...]
    principal: str


@dataclass
class FilterVerifier:
    """Verifies the tokens of requests.

    keys_url is Edict's API, where keys and large filters are asked for, such as
    "http://127.0.0.1:3592"; or keys is a JWK set, a PEM text, a file or an own Keys, and
    large filters are refused unless there is an edict. Times are in seconds.

    replays remembers which tokens were used; without it that is the memory of this process,
    by the clock of this verifier. leeway is by how much clocks may differ. header and principal_header are Edict's
    filter.header and upstream.principalHeader. prefix is what the server puts in front of
    the paths that it is asked for, as uvicorn does with --root-path. check_host is for
    services whose proxy asks them by another name than the client asked it. max_filter_bytes
    is no less than Edict's filter.handleBytes.
    """

    keys_url: str | None = None
    keys: Keys | Mapping[str, Any] | str | bytes | Path | None = None
    edict: Edict | None = None
    replays: ReplayStore | None = None
    header: str = "x-edict-filter"
    principal_header: str = "x-edict-principal"
    leeway: float = 2
    max_token_bytes: int = 16 << 10
    max_filter_bytes: int = 256 << 10
    prefix: str = ""
    check_host: bool = True
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if not 0 <= self.leeway <= 10:
            raise Misconfigured("leeway is from 0 to 10 seconds")
        if self.prefix and (not self.prefix.startswith("/") or self.prefix.endswith("/")):
            raise Misconfigured("prefix is a path such as /api, without a slash at the end")
        if (self.keys_url is None) == (self.keys is None and self.edict is None):
            raise Misconfigured("give keys_url, or keys and edict, or one of the two")
        if self.keys_url is not None:
            self.edict = Edict(self.keys_url)
        self._keys = self._source()
        self._replays = MemoryReplayStore(clock=lambda: self.clock()) if self.replays is None else self.replays
        self._header, self._principal_header = (h.lower().encode("ascii") for h in (self.header, self.principal_header))

    def _source(self) -> Keys:
        match self.keys:
            case None:
                assert self.edict is not None
                return KeysFromEdict(self.edict)
            case Path() as file:
                return KeysFromFile(file)
            case Mapping() | bytes() as given:
                return StaticKeys(given)
            case str() as text:
                return StaticKeys(text) if text.lstrip().startswith(("{", "-----BEGIN")) else KeysFromFile(text)
        return self.keys

    def verify(self, scope: Mapping[str, Any]) -> Filter:
        """The filter of a request, by its ASGI scope. It may wait for Edict: not for the
        event loop.

        Refused tells what is wrong with the request, Misconfigured what is wrong here.
        """
        if scope["type"] != "http":
            raise Refused("filters are for HTTP requests")
        claims = self._claims(_one(scope, self._header, "filter"))
        self._check_time(claims)
        self._check_request(claims, scope)
        # Last, so that a request that is refused uses nobody's token up.
        if not self._replays.add(claims["jti"], claims["exp"] + self.leeway):
            raise Refused("the token was used before, or it can't be told")
        filter = claims["flt"] if "flt" in claims else self._fetch(claims["hdl"])
        if not isinstance(filter, dict):
            raise Refused("the filter is no object")
        return Filter(filter, claims["knd"], tuple(claims["act"]), claims["sub"])

    def _claims(self, token: bytes) -> dict[str, Any]:
        """The claims of a token that is signed by Edict."""
        if len(token) > self.max_token_bytes or not _TOKEN.fullmatch(token):
            raise Refused("no token, or a larger one than is taken")
        try:
            header = parse(_decoded(token[: token.index(b".")]))
            if not isinstance(header, dict) or set(header) != {"alg", "kid", "typ"} or header["typ"] != TYPE:
                raise Refused("a header that is not of a filter's token")
            if header["alg"] != "EdDSA" or not isinstance(header["kid"], str) or len(header["kid"]) > 256:
                raise Refused("a token that is not signed by EdDSA")
            key = self._keys.find(header["kid"])
            if key is None:
                raise Refused("a token by an unknown key")
            payload = jwt.PyJWS(algorithms=["EdDSA"]).decode(token, key, algorithms=["EdDSA"])
            claims = parse(payload)
        except (jwt.PyJWTError, ValueError, RecursionError) as e:
            raise Refused(f"a token that can't be read or trusted: {e}") from e
        if not isinstance(claims, dict):
            raise Refused("claims that are no object")
        _check_types(claims)
        return claims

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now, issued, expires = self.clock(), claims["iat"], claims["exp"]
        if claims["iss"] != ISSUER:
            raise Refused("a token of another issuer")
        if now >= expires + self.leeway:
            raise Refused(f"a token that expired {now - expires:.0f} seconds ago")
        if issued > now + self.leeway:
            raise Refused(f"a token from {issued - now:.0f} seconds ahead; compare the clocks")
        if not 0 < expires - issued <= _MAX_LIFETIME:
            raise Refused("a token with a life that Edict gives to none")

    def _check_request(self, claims: Mapping[str, Any], scope: Mapping[str, Any]) -> None:
        query = scope.get("query_string", b"")
        principal = _principal(_one(scope, self._principal_header, "principal"))
        for name, made_for, asked in (
            ("method", claims["mth"], scope["method"]),
            ("path", claims["pth"], self._path(scope)),
            ("query", claims.get("qsh", ""), _hash(query) if query else ""),
            ("principal", claims["sub"], principal),
        ):
            if not _same(made_for, asked):
                raise Refused(f"a token that was made for another {name}")
        if self.check_host and not _same(claims["hst"], _one(scope, b"host", "host").decode("latin-1").lower()):
            raise Refused("a token that was made for another host")

    def _path(self, scope: Mapping[str, Any]) -> str:
        """The path as it was asked for: scope["path"] is decoded, which loses its spelling."""
        raw = scope.get("raw_path")
        if not isinstance(raw, bytes):
            raise Misconfigured("the server does not tell the path as it was sent (raw_path of ASGI)")
        path = raw.decode("latin-1")
        if self.prefix and not path.startswith(self.prefix + "/"):
            raise Misconfigured(f"the server does not put {self.prefix} in front of paths")
        return path.removeprefix(self.prefix)

    def _fetch(self, handle: str) -> Any:
        if self.edict is None:
            raise Misconfigured("a filter is too large for a header, and there is no edict to ask for it")
        try:
            filter = self.edict.take(handle, self.max_filter_bytes)
        except Unreachable as e:
            raise Refused(f"a large filter could not be fetched: {e}") from e
        except Misconfigured as e:
            raise Misconfigured(f"a filter of more than max_filter_bytes: {e}") from e
        if filter is None:
            raise Refused("a large filter is not there, or no more; is this the Edict that was asked?")
        return filter


def _check_types(claims: Mapping[str, Any]) -> None:
    expected = _CLAIMS | _OPTIONAL
    for name, value in claims.items():
        if name not in expected or type(value) is not expected[name]:
            raise Refused(f"a claim {name!r} that is unknown or of another type")
    if missing := _CLAIMS.keys() - claims.keys():
        raise Refused(f"a token without {sorted(missing)}")
    if ("flt" in claims) == ("hdl" in claims) or not _HANDLE.fullmatch(claims.get("hdl", "A" * 43)):
        raise Refused("a token needs a filter or the handle of one")
    if not claims["jti"] or not claims["act"] or not all(isinstance(a, str) for a in claims["act"]):
        raise Refused("a token without an id or actions")


def _one(scope: Mapping[str, Any], name: bytes, what: str) -> bytes:
    values = [value for n, value in scope["headers"] if n.lower() == name]
    if len(values) != 1:
        raise Refused(f"{len(values)} headers for the {what}, where one is needed")
    value: bytes = values[0]
    return value


def _principal(value: bytes) -> str:
    """The id in Edict's header: printable ASCII, and all else percent-encoded."""
    if not value or not all(0x20 < b < 0x7F for b in value) or re.search(rb"%(?![0-9A-F]{2})", value):
        raise Refused("a header for the principal that is not Edict's")
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused("a principal that is not UTF-8") from e


def _decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _hash(query: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(query).digest()).rstrip(b"=").decode()


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))
