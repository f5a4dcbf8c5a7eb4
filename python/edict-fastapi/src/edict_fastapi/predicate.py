"""Conditions on a row that are true or false, never NULL.

What always holds here: a Predicate is built of atoms that are never NULL, so `not`
means what it says, and a part of a filter can be negated without a row slipping
through where SQL would say NULL.

A Predicate knows how much SQL it makes and how deep that is nested. The same part may
occur in it many times, so that a small tree can stand for a lot of text; who builds
one looks at `size` and `depth`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, false, not_, or_, true

from .dialects import Grouped

# Databases parse "a OR b OR c" as a tree as deep as it is long, and SQLite stops at
# 1000. So long rows of operands are cut in pieces.
_PIECE = 8


@dataclass(eq=False)
class Predicate:
    """True or false of a row.

    op is "true", "false", "atom", "not", "and" or "or". make gives the SQL of an atom; much
    of what a filter could need is never asked for.
    """

    op: str
    parts: tuple[Predicate, ...] = ()
    make: Callable[[], ColumnElement[bool]] | None = None
    size: int = 1
    depth: int = 1
    _sql: ColumnElement[bool] | None = None

    @property
    def always(self) -> bool:
        return self.op == "true"

    @property
    def never(self) -> bool:
        return self.op == "false"

    def sql(self) -> ColumnElement[bool]:
        """The predicate as SQL."""
        if self._sql is None:
            self._sql = self._build()
        return self._sql

    def _build(self) -> ColumnElement[bool]:
        if self.make is not None:
            return self.make()
        if self.op == "not":
            return not_(Grouped(self.parts[0].sql()))
        if self.op in ("and", "or"):
            return _joined(self.op, [p.sql() for p in self.parts])
        return true() if self.always else false()


def _joined(op: str, operands: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    join = and_ if op == "and" else or_
    while len(operands) > _PIECE:
        operands = [Grouped(join(*operands[i : i + _PIECE])) for i in range(0, len(operands), _PIECE)]
    return join(*operands)


TRUE = Predicate("true")
FALSE = Predicate("false")


def atom(make: Callable[[], ColumnElement[bool]], size: int = 1) -> Predicate:
    """A condition that the caller knows to be never NULL, and to hold size values."""
    return Predicate("atom", make=make, size=size, depth=3)


def constant(value: bool) -> Predicate:
    return TRUE if value else FALSE


def negation(p: Predicate) -> Predicate:
    if p.always:
        return FALSE
    if p.never:
        return TRUE
    if p.op == "not":
        return p.parts[0]
    return Predicate("not", (p,), size=p.size + 1, depth=p.depth + 1)


def both(*parts: Predicate) -> Predicate:
    """True if all parts are; true if there are none."""
    return _combined("and", FALSE, TRUE, parts)


def either(*parts: Predicate) -> Predicate:
    """True if some part is; false if there are none."""
    return _combined("or", TRUE, FALSE, parts)


def _combined(op: str, decides: Predicate, neutral: Predicate, parts: tuple[Predicate, ...]) -> Predicate:
    kept: dict[int, Predicate] = {}  # by identity: equal parts of one column are one object
    for part in parts:
        for p in part.parts if part.op == op else (part,):
            if p.op == decides.op:
                return decides
            if p.op != neutral.op:
                kept[id(p)] = p
    # p and not p, p or not p
    if any(p.op == "not" and id(p.parts[0]) in kept for p in kept.values()):
        return decides
    if not kept:
        return neutral
    out = tuple(kept.values())
    if len(out) == 1:
        return out[0]
    levels, n = min(len(out), _PIECE), len(out)
    while n > _PIECE:
        n = -(-n // _PIECE)
        levels += _PIECE
    return Predicate(op, out, size=1 + sum(p.size for p in out), depth=max(p.depth for p in out) + levels)
