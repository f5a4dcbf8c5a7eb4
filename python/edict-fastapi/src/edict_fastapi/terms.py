"""Values of CEL that depend on a row.

A Term is what an expression is worth: on some rows true, on some false, on some a
value of another kind, and on some an error.

What always holds here: on every row that the guards of a translation let through,
exactly one of true, false, errs and the alternatives of a Term holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement

from .predicate import FALSE, TRUE, Predicate, either, negation


class Kind(Enum):
    """The kinds of values."""

    NULL = "null"
    BOOL = "bool"  # no Alternative has it: true and false of a Term do
    DOUBLE = "double"
    INT = "int"
    UINT = "uint"
    STRING = "string"
    # The text of a date and time: checks may write the same instant in many ways, so
    # that only what timestamp() makes of it is known.
    DATE_TEXT = "date text"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, eq=False)
class Number:
    """A double, int or uint: known, or the value of a SQL expression.

    whole tells that the SQL expression is an integer. A whole one lies between least and
    most. One that is not whole is a double: 0, or of a magnitude between least and most.
    """

    known: float | int | None = None
    sql: ColumnElement[Any] | None = None
    whole: bool = False
    least: float | int = 0
    most: float | int = 0
    tame: bool = False  # the magnitude is held by the SQL expression itself
    cut: bool = False  # the SQL expression has one in it several times that was made an integer


@dataclass(frozen=True, eq=False)
class Text:
    """A string: known, or the value of exact, which compares by code points.

    indexed is the same as the column has it, if that can be compared with a text.
    """

    known: str | None = None
    exact: ColumnElement[Any] | None = None
    indexed: ColumnElement[Any] | None = None


@dataclass(frozen=True, eq=False)
class Time:
    """An instant: that of a column, or the year 1970 without one, and nanoseconds more."""

    sql: ColumnElement[Any] | None = None
    more: int = 0


@dataclass(frozen=True, eq=False)
class Span:
    """A duration: the microseconds of a SQL expression, if any, and nanoseconds more."""

    sql: ColumnElement[Any] | None = None
    more: int = 0


@dataclass(frozen=True, eq=False)
class Alternative:
    """A value that is no bool, and the rows on which the Term has it.

    value is a Number, Text, Time or Span by kind, a list or dict of plain values for
    LIST and MAP, a SQL expression for DATE_TEXT and None for NULL.
    """

    when: Predicate
    kind: Kind
    value: Any = None


@dataclass(frozen=True, eq=False)
class Term:
    true: Predicate = FALSE
    false: Predicate = FALSE
    alternatives: tuple[Alternative, ...] = ()
    errs: Predicate = FALSE

    @property
    def no_bool(self) -> Predicate:
        """Where a bool is needed, this is an error."""
        return either(self.errs, *(a.when for a in self.alternatives))

    @property
    def size(self) -> int:
        return self.true.size + self.false.size + self.errs.size + sum(a.when.size for a in self.alternatives)


def of_bool(true: Predicate) -> Term:
    """A Term that is a bool on every row."""
    return Term(true=true, false=negation(true))


def of_value(kind: Kind, value: Any = None) -> Term:
    """A Term that is the same kind of value on every row."""
    return Term(alternatives=(Alternative(TRUE, kind, value),))


ERROR = Term(errs=TRUE)
