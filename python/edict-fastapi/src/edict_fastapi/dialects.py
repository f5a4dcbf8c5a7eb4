"""What SQLite and PostgreSQL spell differently, as SQLAlchemy expressions.

What always holds here: an expression means the same on both databases, and on any
other it does not compile. None of them is NULL if no operand is.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, BindParameter, Boolean, ColumnClause, Double, String
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Grouped(FunctionElement[bool]):
    """Parentheses around a condition, which SQLAlchemy would take away."""

    type = Boolean()
    inherit_cache = True


class ExactText(FunctionElement[str]):
    """Text that is compared code point by code point, whatever the column's collation."""

    type = String()
    inherit_cache = True


class Length(FunctionElement[int]):
    """How many code points a text has."""

    type = BigInteger()
    inherit_cache = True


class StartsWith(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


class EndsWith(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


class Contains(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


class LowerASCII(FunctionElement[str]):
    """Text with the letters A to Z as small ones, and no others changed."""

    type = String()
    inherit_cache = True


class UpperASCII(FunctionElement[str]):
    type = String()
    inherit_cache = True


class AsDouble(FunctionElement[float]):
    """A number as the nearest double."""

    type = Double()
    inherit_cache = True


class AsInteger(FunctionElement[int]):
    """A number without its fraction. The caller knows that it fits into 64 bits."""

    type = BigInteger()
    inherit_cache = True


class Micros(FunctionElement[int]):
    """An instant as microseconds since 1970, UTC."""

    type = BigInteger()
    inherit_cache = True


class Plus(FunctionElement[Any]):
    """The sum of two doubles or of two integers."""

    inherit_cache = True


class Minus(FunctionElement[Any]):
    inherit_cache = True


class Times(FunctionElement[Any]):
    inherit_cache = True


class Divided(FunctionElement[Any]):
    """The quotient of two doubles or, without its fraction, of two integers."""

    inherit_cache = True


class Remainder(FunctionElement[Any]):
    """What is left of an integer that is divided; it has the sign of the first."""

    inherit_cache = True


class Concatenated(FunctionElement[str]):
    type = String()
    inherit_cache = True


class Instant(FunctionElement[Any]):
    """A date and time in the one form in which they can be compared."""

    inherit_cache = True

    def __init__(self, column: Any):
        super().__init__(column)
        self.type = column.type


class Usable(FunctionElement[bool]):
    """Whether what is stored is a value of the column's type that JSON can carry.

    SQLite stores anything anywhere, and both have values that no attribute can have:
    NaN, infinity, years before 1 and after 9999. Not asked of NULL.
    """

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: Any):
        super().__init__(column)


class UsableText(Usable):
    inherit_cache = True


class UsableInteger(Usable):
    inherit_cache = True


class UsableWhole(Usable):
    """The same as UsableInteger of an expression that may be of any type of number."""

    inherit_cache = True


class UsableNumber(Usable):
    inherit_cache = True


class UsableBool(Usable):
    inherit_cache = True


class UsableInstant(Usable):
    inherit_cache = True


class TextIsUTF8(FunctionElement[bool]):
    """Whether the order of texts is that of their code points."""

    type = Boolean()
    inherit_cache = True


class LowerIsASCII(FunctionElement[bool]):
    """Whether SQLite's lower() and upper() are its own: extensions replace them."""

    type = Boolean()
    inherit_cache = True


# The databases that filters are made for.
DIALECTS = ("sqlite", "postgresql")

_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MAX_DOUBLE = "1.7976931348623157e308"
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_TIME = "[0-9][0-9]:[0-9][0-9]:[0-9][0-9]"
_YEARS = "'0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"  # without a zone, +00 is passed over
# As SQLAlchemy writes it, as CURRENT_TIMESTAMP does, and as strftime('%f') does.
_FORMS = [f"{_DAY} {_TIME}{fraction}" for fraction in (".[0-9][0-9][0-9][0-9][0-9][0-9]", "", ".[0-9][0-9][0-9]")]

# {0}, {1}: the operands, which may be written twice.
_SQL: dict[type[FunctionElement[Any]], dict[str, str]] = {
    Grouped: {"sqlite": "({0})", "postgresql": "({0})"},
    ExactText: {"sqlite": "({0} COLLATE BINARY)", "postgresql": '(CAST({0} AS TEXT) COLLATE "C")'},
    Length: {"sqlite": "length({0})", "postgresql": "CAST(char_length({0}) AS BIGINT)"},
    StartsWith: {"sqlite": "(substr({0}, 1, length({1})) = {1})", "postgresql": "starts_with({0}, {1})"},
    EndsWith: {
        "sqlite": "(length({0}) >= length({1}) AND substr({0}, length({0}) - length({1}) + 1) = {1})",
        "postgresql": "(right({0}, char_length({1})) = {1})",
    },
    Contains: {"sqlite": "(instr({0}, {1}) > 0)", "postgresql": "(strpos({0}, {1}) > 0)"},
    LowerASCII: {
        "sqlite": "(lower({0}) COLLATE BINARY)",
        "postgresql": f"translate({{0}}, '{_CAPITALS}', '{_CAPITALS.lower()}')",
    },
    UpperASCII: {
        "sqlite": "(upper({0}) COLLATE BINARY)",
        "postgresql": f"translate({{0}}, '{_CAPITALS.lower()}', '{_CAPITALS}')",
    },
    AsDouble: {"sqlite": "CAST({0} AS REAL)", "postgresql": "CAST({0} AS DOUBLE PRECISION)"},
    AsInteger: {"sqlite": "CAST({0} AS INTEGER)", "postgresql": "CAST(trunc({0}) AS BIGINT)"},
    Instant: {
        "sqlite": "(CASE length({0}) WHEN 19 THEN {0} || '.000000' WHEN 23 THEN {0} || '000' ELSE {0} END COLLATE BINARY)",
        "postgresql": "{0}",
    },
    Plus: {"sqlite": "({0} + {1})", "postgresql": "({0} + {1})"},
    Minus: {"sqlite": "({0} - {1})", "postgresql": "({0} - {1})"},
    Times: {"sqlite": "({0} * {1})", "postgresql": "({0} * {1})"},
    Divided: {"sqlite": "({0} / {1})", "postgresql": "({0} / {1})"},
    Remainder: {"sqlite": "({0} % {1})", "postgresql": "mod({0}, {1})"},
    Concatenated: {"sqlite": "({0} || {1})", "postgresql": "({0} || {1})"},
    # The fraction is counted apart: before PostgreSQL 14 extract gives a double. Nothing here
    # has a percent sign for PostgreSQL, since SQLAlchemy and pg8000 double none in this text.
    Micros: {
        "sqlite": "(CAST(strftime('%s', substr({0}, 1, 19)) AS INTEGER) * 1000000 + CAST(substr({0}, 21, 6) AS INTEGER))",
        "postgresql": f"(CASE WHEN {{0}} BETWEEN {_YEARS} THEN CAST(extract(epoch FROM date_trunc('second', {{0}})) AS BIGINT) * 1000000"
        " + mod(CAST(extract(microseconds FROM {0}) AS BIGINT), 1000000) END)",
    },
    UsableText: {
        "sqlite": "(typeof({0}) = 'text' AND instr({0}, char(0)) = 0)",
        "postgresql": "true",
    },
    UsableInteger: {"sqlite": "(typeof({0}) = 'integer')", "postgresql": "true"},
    UsableWhole: {
        "sqlite": "(typeof({0}) = 'integer')",
        "postgresql": f"({{0}} = trunc({{0}}) AND {{0}} BETWEEN {-(2**63)} AND {2**63 - 1})",
    },
    UsableNumber: {
        "sqlite": f"(typeof({{0}}) IN ('real', 'integer') AND abs({{0}}) <= {_MAX_DOUBLE})",
        "postgresql": f"(coalesce(abs(CAST({{0}} AS DOUBLE PRECISION)) <= {_MAX_DOUBLE}, false))",
    },
    UsableBool: {"sqlite": "(typeof({0}) = 'integer' AND {0} IN (0, 1))", "postgresql": "true"},
    UsableInstant: {
        "sqlite": "(typeof({0}) = 'text' AND {0} >= '0001-' AND strftime('%s', substr({0}, 1, 19)) IS NOT NULL AND ("
        + " OR ".join(f"{{0}} GLOB '{form}'" for form in _FORMS)
        + "))",
        "postgresql": f"(coalesce({{0}} BETWEEN {_YEARS}, false))",
    },
    TextIsUTF8: {
        "sqlite": "(length(CAST('a' AS BLOB)) = 1)",
        "postgresql": "(current_setting('server_encoding') = 'UTF8')",
    },
    LowerIsASCII: {"sqlite": "(lower('\u00c9') = '\u00c9')", "postgresql": "true"},
}


def _spell(element: type[FunctionElement[Any]], dialect: str, form: str) -> None:
    @compiles(element, dialect)
    def compiled(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
        # Some drivers want percent signs doubled, in this text as in SQLAlchemy's own.
        text: str = compiler.post_process_text(form)
        return text.format(*(_operand(o, compiler, kw) for o in element.clauses))


def _operand(operand: Any, compiler: Any, kw: dict[str, Any]) -> str:
    text: str = compiler.process(operand, **kw)
    whole = isinstance(operand, (ColumnClause, BindParameter, FunctionElement))
    return text if whole else f"({text})"


def _refuse(element: type[FunctionElement[Any]]) -> None:
    @compiles(element)
    def compiled(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
        raise CompileError(f"filters of Edict are not made for {compiler.dialect.name}, only for {' and '.join(DIALECTS)}")


for _element, _forms in _SQL.items():
    _refuse(_element)
    for _dialect, _form in _forms.items():
        _spell(_element, _dialect, _form)
