"""Numbers: their order and their sums.

A JSON number is a double to CEL, also one that comes from an integer column, so
integers from 2^53 on compare as the doubles that they become. CEL's own ints, such as a
size, compare exactly with each other.

What always holds here: no SQL that is made can overflow, be NaN or fail. Where an
operation could, its columns are held to magnitudes in which it can't, and the rows
beyond are kept out by a guard; or it is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Double, case, func, literal, or_

from .dialects import AsDouble, AsInteger, Divided, Minus, Plus, Remainder, Times
from .errors import Untranslatable
from .predicate import FALSE, Predicate, atom, constant
from .terms import Kind, Number

MIN_INT, MAX_INT = -(2**63), 2**63 - 1

# Up to here every integer is a double.
_EXACT = 2**53

# What doubles from columns are held to where they are calculated with, and what results
# may come to: far from the ends, at which PostgreSQL fails and SQLite says NULL.
_LEAST, _MOST = 1e-60, 1e60
_FLOOR, _CEILING = 1e-290, 1e290

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
MIRRORED = {"eq": "eq", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def integer(n: int) -> ColumnElement[int]:
    return literal(n, BigInteger())


def double(n: float) -> ColumnElement[float]:
    return AsDouble(literal(n, Double()))


def as_double(n: Number) -> ColumnElement[Any]:
    if n.sql is None:
        return double(float(n.known))  # type: ignore[arg-type]
    return AsDouble(n.sql) if n.whole else n.sql


def compare(op: str, a: Number, a_kind: Kind, b: Number, b_kind: Kind) -> Predicate:
    """Whether a op b, by CEL: as doubles, unless both are ints."""
    if a.sql is None and b.sql is not None:
        return compare(MIRRORED[op], b, b_kind, a, a_kind)
    as_ints = Kind.DOUBLE not in (a_kind, b_kind)
    if b.sql is not None:
        if as_ints or _small(a) and _small(b):
            return atom(lambda: COMPARISONS[op](a.sql, b.sql))
        return atom(lambda: COMPARISONS[op](as_double(a), as_double(b)))
    known = b.known
    assert known is not None
    if not as_ints:
        known = float(known)
    if a.sql is None:
        assert a.known is not None
        return constant(COMPARISONS[op](a.known if as_ints else float(a.known), known))
    if math.isnan(known):
        return FALSE
    if math.isinf(known):
        return constant(COMPARISONS[op](0.0, known))  # what is in columns is finite
    if as_ints and not MIN_INT <= known <= MAX_INT:
        return constant(COMPARISONS[op](0, known))
    if a.whole and (as_ints or abs(known) < _EXACT):
        return compare_whole(op, a.sql, math.floor(known), known != math.floor(known))
    return atom(lambda: COMPARISONS[op](as_double(a), double(float(known))))


def compare_whole(op: str, sql: ColumnElement[Any], floor: int, more: bool) -> Predicate:
    """Whether an integer op (floor and, if more, a fraction)."""
    if more and op == "eq":
        return FALSE
    if more:
        op = {"lt": "le", "ge": "gt"}.get(op, op)
    return atom(lambda: COMPARISONS[op](sql, integer(floor)))


def _small(n: Number) -> bool:
    return n.whole and -_EXACT <= n.least and n.most <= _EXACT


def calculate(op: str, a: Number, b: Number, guard: Callable[[Predicate], None]) -> Number:
    """a op b of doubles. guard takes what a row must be like to count."""
    if a.sql is None and b.sql is None:
        return Number(known=_calculate_known(op, float(a.known), float(b.known)))  # type: ignore[arg-type]
    if op == "div" and b.sql is not None:
        raise Untranslatable("division by an attribute")
    (x, x_least, x_most), (y, y_least, y_most) = _tamed(a, guard), _tamed(b, guard)
    if op in ("add", "sub"):
        # A difference that isn't 0 is no less than the last bit of the smaller operand.
        least, most = min(x_least, y_least) * 2**-54, x_most + y_most
    elif op == "mult":
        least, most = x_least * y_least, x_most * y_most
    elif y_most == 0:
        raise Untranslatable("division by zero")
    else:
        least, most = x_least / y_most, x_most / y_least
    if not (_FLOOR <= least and most <= _CEILING):
        raise Untranslatable("a calculation that could leave the range of doubles")
    return Number(sql=_OPERATIONS[op](x, y), least=least, most=most, tame=True, cut=a.cut or b.cut)


_OPERATIONS: dict[str, Any] = {"add": Plus, "sub": Minus, "mult": Times, "div": Divided}


def _calculate_known(op: str, a: float, b: float) -> float:
    if op == "div" and b == 0:
        if a == 0 or math.isnan(a):
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1, b)
    if op == "div":
        return a / b
    return a + b if op == "add" else a - b if op == "sub" else a * b


def _tamed(n: Number, guard: Callable[[Predicate], None]) -> tuple[ColumnElement[Any], float, float]:
    """A double as SQL, and the bounds of its magnitude where it is not 0."""
    if n.sql is None:
        known = abs(float(n.known))  # type: ignore[arg-type]
        if not math.isfinite(known):
            raise Untranslatable("a calculation with a number that is not finite")
        return as_double(n), known or math.inf, known
    if n.whole:
        return as_double(n), 1.0, float(max(abs(n.least), abs(n.most)))
    if n.tame:
        return n.sql, float(n.least), float(n.most)
    tame = or_(n.sql == double(0.0), func.abs(n.sql).between(double(_LEAST), double(_MOST)))
    guard(atom(lambda: tame))
    return case((tame, n.sql)), _LEAST, _MOST


def calculate_ints(op: str, a: Number, b: Number) -> Number | None:
    """a op b of ints; None if that is an error on every row."""
    if op in ("div", "mod") and b.sql is not None:
        raise Untranslatable("division by an attribute")
    if op in ("div", "mod") and b.known == 0:
        return None
    if a.sql is None and b.sql is None:
        known = _calculate_known_ints(op, a.known, b.known)  # type: ignore[arg-type]
        return Number(known=known) if MIN_INT <= known <= MAX_INT else None
    ends = [_calculate_known_ints(op, x, y) for x in _ends(a) for y in _ends(b)]
    least, most = min(ends), max(ends)
    if op == "mod":
        most = abs(b.known) - 1  # type: ignore[arg-type,assignment]
        least = -most
    if least < MIN_INT or most > MAX_INT:
        raise Untranslatable("a calculation with ints that could overflow")
    x, y = (integer(n.known) if n.sql is None else n.sql for n in (a, b))  # type: ignore[arg-type]
    operation = Remainder if op == "mod" else _OPERATIONS[op]
    return Number(sql=operation(x, y), whole=True, least=least, most=most, cut=a.cut or b.cut)


def _ends(n: Number) -> tuple[int, ...]:
    if n.sql is None:
        return (n.known,)  # type: ignore[return-value]
    return (int(n.least), 0, int(n.most)) if n.least <= 0 <= n.most else (int(n.least), int(n.most))


def _calculate_known_ints(op: str, a: int, b: int) -> int:
    if op in ("add", "sub", "mult"):
        return a + b if op == "add" else a - b if op == "sub" else a * b
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards 0
    return quotient if op == "div" else a - quotient * b


def to_int(n: Number) -> tuple[Predicate, Number]:
    """int() of a double: where it is no error, and the integer there."""
    if n.sql is None:
        known = float(n.known)  # type: ignore[arg-type]
        fits = MIN_INT < known < MAX_INT  # false for NaN
        return constant(fits), Number(known=int(known) if fits else 0)
    if n.cut:  # each time the SQL becomes several times as long
        raise Untranslatable("int of what int made")
    value = as_double(n)
    fits_sql = (value > double(float(MIN_INT))) & (value < double(float(MAX_INT)))
    whole = case((fits_sql, AsInteger(value)))
    return atom(lambda: fits_sql), Number(sql=whole, whole=True, least=MIN_INT + 1, most=MAX_INT, cut=True)
