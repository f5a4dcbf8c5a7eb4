"""Instants and durations, in nanoseconds as CEL has them.

Columns hold microseconds. A column without a time zone is UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import ColumnElement, literal

from .arithmetic import COMPARISONS, MAX_INT, MIN_INT, MIRRORED, compare_whole, integer
from .dialects import Instant, Micros, Minus, Plus
from .errors import Untranslatable
from .predicate import FALSE, TRUE, Predicate, atom, both, constant, either, negation
from .terms import Span, Time

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
# What columns can hold, in microseconds since 1970.
_FIRST = (datetime(1, 1, 1, tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
# Comparisons with the first and the last of them, said by the one next to it: asyncpg takes
# datetime.min and datetime.max for the infinities of PostgreSQL.
_ENDS = {
    _FIRST: {op: (said, _FIRST + 1) for op, said in {"eq": "lt", "le": "lt", "gt": "ge", "lt": "never", "ge": "always"}.items()},
    _LAST: {op: (said, _LAST - 1) for op, said in {"eq": "gt", "ge": "gt", "lt": "le", "gt": "never", "le": "always"}.items()},
}
# What a timestamp of CEL can be, in nanoseconds since 1970.
_MIN_TIME, _MAX_TIME = _FIRST * 1000, _LAST * 1000 + 999

# How every text begins that timestamp() reads.
DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt]", re.ASCII)

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_SECONDS = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)


def parse_time(text: str) -> Time:
    """The instant of a text as RFC 3339 has it."""
    m = _RFC3339.fullmatch(text)
    try:
        if m is None:
            raise ValueError
        day, time, fraction, zone = m.groups()
        whole = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone == 'Z' else zone}")
    except ValueError:
        raise Untranslatable("a timestamp that is not in the form of RFC 3339") from None
    ns = (whole - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "0").ljust(9, "0"))
    if not _MIN_TIME <= ns <= _MAX_TIME:
        raise Untranslatable("a timestamp before year 1 or after year 9999")
    return Time(more=ns)


def parse_span(text: str) -> Span:
    """The duration of a text such as "-3600.5s"."""
    m = _SECONDS.fullmatch(text)
    if m is None:
        raise Untranslatable("a duration that is not in seconds")
    sign, seconds, fraction = m.groups()
    ns = int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))
    ns = -ns if sign else ns
    if not MIN_INT <= ns <= MAX_INT:
        raise Untranslatable("a duration of more than 292 years")
    return Span(more=ns)


def compare_times(op: str, a: Time, b: Time) -> Predicate:
    if a.sql is None and b.sql is None:
        return constant(COMPARISONS[op](a.more, b.more))
    if a.sql is None:
        return compare_times(MIRRORED[op], b, a)
    if b.sql is not None:
        if a.more == b.more:
            return atom(lambda: COMPARISONS[op](Instant(a.sql), Instant(b.sql)))
        return _compare_micros(op, Minus(_micros(a), _micros(b)), b.more - a.more)
    micros, rest = divmod(b.more - a.more, 1000)
    if not _FIRST <= micros <= _LAST:
        return constant(COMPARISONS[op](0, micros))
    if rest and op == "eq":
        return constant(False)
    if rest:
        op = {"lt": "le", "ge": "gt"}.get(op, op)
    if micros in _ENDS:
        op, micros = _ENDS[micros][op]
        if op in ("always", "never"):
            return constant(op == "always")
    at = _EPOCH + timedelta(microseconds=micros)
    column, column_type = Instant(a.sql), a.sql.type
    if not getattr(column_type, "timezone", False):
        at = at.replace(tzinfo=None)
    return atom(lambda: COMPARISONS[op](column, literal(at, column_type)))


def compare_spans(op: str, a: Span, b: Span) -> Predicate:
    if a.sql is None and b.sql is None:
        return constant(COMPARISONS[op](a.more, b.more))
    if a.sql is None:
        return compare_spans(MIRRORED[op], b, a)
    sql = a.sql if b.sql is None else Minus(a.sql, b.sql)
    return _compare_micros(op, sql, b.more - a.more)


def _compare_micros(op: str, sql: ColumnElement[Any], ns: int) -> Predicate:
    micros, rest = divmod(ns, 1000)
    return compare_whole(op, sql, micros, rest != 0)


def _micros(t: Time) -> ColumnElement[Any]:
    return integer(0) if t.sql is None else Micros(Instant(t.sql))


def shift(t: Time, by: Span, sign: int) -> tuple[Predicate, Time]:
    """t and a duration more or, by sign -1, less; and where that is no error."""
    if by.sql is not None:
        raise Untranslatable("an instant a variable time away")
    if sign < 0 and by.more == MIN_INT:
        return FALSE, t  # CEL negates the duration first
    out = Time(t.sql, t.more + sign * by.more)
    return both(compare_times("ge", out, Time(more=_MIN_TIME)), compare_times("le", out, Time(more=_MAX_TIME))), out


def between(later: Time, earlier: Time, guard: Callable[[Predicate], None]) -> tuple[Predicate, Span]:
    """later - earlier, and where that is no error."""
    more = later.more - earlier.more
    if later.sql is None and earlier.sql is None:
        # CEL multiplies the whole seconds first.
        seconds = (later.more // 10**9 - earlier.more // 10**9) * 10**9
        return constant(MIN_INT <= seconds <= MAX_INT and MIN_INT <= more <= MAX_INT), Span(more=more)
    out = Span(Minus(_micros(later), _micros(earlier)), more)
    # Less than a second beyond 292 years is an error or none, by the parts of seconds.
    # No row is worth asking for them.
    for end in (MIN_INT, MAX_INT):
        near = both(
            compare_spans("ge", out, Span(more=end - 2 * 10**9)), compare_spans("le", out, Span(more=end + 2 * 10**9))
        )
        guard(negation(near))
    return _fits(out), out


def since(t: Time, now: Time) -> list[tuple[Predicate, Span]]:
    """now - t, or the longest or shortest duration; and where it is which."""
    more = now.more - t.more
    if t.sql is None and now.sql is None:
        return [(TRUE, Span(more=max(MIN_INT, min(MAX_INT, more))))]
    out = Span(Minus(_micros(now), _micros(t)), more)
    below, above = (compare_spans("lt", out, Span(more=MIN_INT)), compare_spans("gt", out, Span(more=MAX_INT)))
    return [(below, Span(more=MIN_INT)), (above, Span(more=MAX_INT)), (negation(either(below, above)), out)]


def add_spans(a: Span, b: Span, sign: int) -> tuple[Predicate, Span]:
    """a + b or, by sign -1, a - b; and where that is no error."""
    more = a.more + sign * b.more
    if a.sql is None and b.sql is None:
        return constant(MIN_INT <= more <= MAX_INT), Span(more=more)
    if b.sql is None:
        out = Span(a.sql, more)
    else:
        left = integer(0) if a.sql is None else a.sql
        out = Span((Plus if sign > 0 else Minus)(left, b.sql), more)
    return _fits(out), out


def _fits(s: Span) -> Predicate:
    return negation(
        either(compare_spans("lt", s, Span(more=MIN_INT)), compare_spans("gt", s, Span(more=MAX_INT)))
    )
