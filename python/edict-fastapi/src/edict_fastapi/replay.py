"""Tokens that were used, so that none is used twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol


class ReplayStore(Protocol):
    """Remembers tokens. Services of several processes need one that they share."""

    def add(self, token: str, expires: float) -> bool:
        """Whether token, the jti, is new; it is known from now on until expires, in
        seconds since 1970.

        Of two calls at once with one token only one may give True. If that can't be told,
        as when a store is full or away, the answer is False. It is called from several
        threads at once, never from the event loop.
        """


class MemoryReplayStore:
    """A ReplayStore for one process, of at most tokens that have not expired.

    When it is full, new tokens are refused: forgetting one would let it be used again.
    """

    def __init__(self, most: int = 100_000, clock: Callable[[], float] = time.time):
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._expires: OrderedDict[str, float] = OrderedDict()

    def add(self, token: str, expires: float) -> bool:
        now = self._clock()
        with self._lock:
            if token in self._expires:
                return False
            # Tokens come nearly in the order in which they expire.
            while self._expires and next(iter(self._expires.values())) < now:
                self._expires.popitem(last=False)
            if len(self._expires) >= self._most:
                self._expires = OrderedDict((t, e) for t, e in self._expires.items() if e >= now)
            if len(self._expires) >= self._most:
                return False
            self._expires[token] = expires
            return True
