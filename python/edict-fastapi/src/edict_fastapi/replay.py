"""Tokens that were used, so that none is used twice."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Column, Double, Engine, MetaData, String, Table, delete, insert, inspect
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

_log = logging.getLogger("edict_fastapi")


class ReplayStore(Protocol):
    """Remembers tokens. Services of several processes need one that they share."""

    def add(self, token: str, expires: float) -> bool:
        """Whether token, the jti, is new; it is known from now on until expires, in
        seconds since 1970.

        Of two calls at once with one token only one may give True. If that can't be told,
        as when a store is full or away, or expires has passed and the token may have been
        forgotten, the answer is False. It is called from several threads at once, never
        from the event loop.
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
        with self._lock:
            now = self._clock()  # in here, since others forgot by theirs while this one waited
            if token in self._expires or expires < now:
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


class SQLReplayStore:
    """A ReplayStore in a table of a database, for the processes that share it.

    create makes the table, if there is none. A database that fails makes tokens refused.
    """

    def __init__(self, engine: Engine, table: str = "edict_used_tokens", clock: Callable[[], float] = time.time):
        self._engine, self._clock = engine, clock
        self._table = Table(
            table, MetaData(), Column("token", String(255), primary_key=True), Column("expires", Double, index=True)
        )

    def create(self) -> None:
        try:
            self._table.create(self._engine, checkfirst=True)
        except SQLAlchemyError:
            # Of workers that start at once, each looks before one has made it.
            if not inspect(self._engine).has_table(self._table.name):
                raise

    def add(self, token: str, expires: float) -> bool:
        used = self._table
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(used).values(token=token, expires=expires))
                now = self._clock()  # after the insert, which may have waited for others
                connection.execute(delete(used).where(used.c.expires < now))
        except IntegrityError:
            return False
        except SQLAlchemyError as e:
            _log.error("used tokens can't be remembered: %s", e)
            return False
        return now <= expires
