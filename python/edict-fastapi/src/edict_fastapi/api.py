"""The two questions that a service asks Edict: for its keys, and for a large filter."""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .errors import EdictError, Misconfigured
from .strictjson import parse

KEYS_PATH = "/.well-known/edict/filter-keys.json"
TAKE_PATH = "/edict/v1/filters/take"

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Unreachable(EdictError):
    """Edict did not answer, or with something else than what was asked for."""


@dataclass(frozen=True)
class Edict:
    """Edict's API.

    url is where it listens (listen.apiHTTP), without a path. Plain http is for the own
    machine; allow_http admits it for others, whose network must then be trusted: who
    answers in Edict's place makes filters. Redirects and proxies are not followed.
    """

    url: str
    timeout: float = 2.0  # seconds, for a whole answer
    allow_http: bool = False
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        parts = self._parts()
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise Misconfigured(f"{self.url} is no address of Edict's API, such as http://127.0.0.1:3592")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise Misconfigured(f"{self.url}: the address of Edict's API has no path")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.allow_http:
            raise Misconfigured(f"{self.url}: plain http is for this machine; use https, or allow_http in a trusted network")

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018, it is checked when it is read
        except ValueError as e:
            raise Misconfigured(f"{self.url} is no address") from e
        return parts

    def keys(self) -> Any:
        """The JWK set that tokens are verified with."""
        status, body = self._ask("GET", KEYS_PATH, None, 64 << 10)
        if status != 200:
            raise Unreachable(f"Edict answered {status} when asked for its keys")
        return body

    def take(self, handle: str, most: int) -> Any:
        """The filter of a handle, which is given once, or None. most bounds its bytes."""
        asked = b'{"handle":"%s"}' % handle.encode("ascii")
        status, body = self._ask("POST", TAKE_PATH, asked, most + len('{"flt":}'))
        if status == 404:
            return None
        if status != 200 or not isinstance(body, dict) or set(body) != {"flt"}:
            raise Unreachable(f"Edict answered {status} when asked for a filter")
        return body["flt"]

    def _ask(self, method: str, path: str, body: bytes | None, most: int) -> tuple[int, Any]:
        end = time.monotonic() + self.timeout
        parts = self._parts()
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            tls = self.tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self.timeout, context=tls)
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.timeout)
        headers = {"accept": "application/json", "connection": "close"}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = b""
            # Each read waits for the timeout at most, and all of them together, too.
            while chunk := response.read1(1 << 16):
                answer += chunk
                if len(answer) > most:
                    raise Misconfigured(f"{self.url}{path} answers more than {most} bytes")
                if time.monotonic() > end:
                    raise Unreachable("Edict's answer took too long")
            return response.status, parse(answer) if response.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise Unreachable(f"no answer from Edict at {self.url}: {e}") from e
        finally:
            connection.close()
