"""From the filter of a token to a condition in SQL.

A filter says what a check would say of each row: `and`, `or` and `not` over leaves,
which are `holds(E)`, the CEL expression E is true, and `errs(E)`, it ends in an error.

What always holds here: the condition is true of a row only if the filter holds on it by
the semantics of CEL, and never NULL. What can't be said exactly is refused before there
is any SQL. Rows with a value that no attribute can have, such as text in an integer
column of SQLite, are never selected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Double, Text as TextType, and_, func, literal, true

from . import arithmetic, instants
from .arithmetic import COMPARISONS, MIRRORED
from .columns import ATTRIBUTES, POLICY_VERSION, Attribute, Columns
from .dialects import (
    AsDouble,
    Concatenated,
    Contains,
    EndsWith,
    ExactText,
    Length,
    LowerASCII,
    LowerIsASCII,
    StartsWith,
    TextIsUTF8,
    UpperASCII,
    UsableBool,
    UsableInstant,
    UsableInteger,
    UsableNumber,
    UsableText,
    UsableWhole,
)
from .errors import Untranslatable
from .predicate import FALSE, TRUE, Predicate, atom, both, constant, either, negation
from .terms import ERROR, Alternative, Kind, Number, Span, Term, Text, Time, of_bool, of_value

# A filter of more, or nested deeper, is refused: SQLite parses no more than 1000 levels,
# and Python runs out of its own.
MAX_DEPTH = 48
MAX_NODES = 4000
MAX_SIZE = 8000
MAX_SQL_DEPTH = 250

Case = tuple[Kind, Any]


def translate(filter: Mapping[str, Any], columns: Columns) -> ColumnElement[bool]:
    """The condition that a token's `flt` sets, for the rows of a model.

    filter is the JSON as Python reads it. Untranslatable says what can't be translated.
    """
    match filter:
        case {"kind": "KIND_ALWAYS_ALLOWED", **rest} if not rest:
            return true()
        case {"kind": "KIND_CONDITIONAL", "condition": condition, **rest} if not rest:
            return _Translation(columns).where(condition)
    raise Untranslatable("a filter of an unknown kind")


def _text(s: str) -> str:
    """s, if databases can take it."""
    if "\0" in s or not s.isascii() and any("\ud800" <= c <= "\udfff" for c in s):
        raise Untranslatable("a text that databases can't take")
    return s


class _Translation:
    """The translation of one filter."""

    def __init__(self, columns: Columns):
        self._columns = columns
        self._nodes = 0
        self._rules: dict[tuple[Any, ...], tuple[tuple[Predicate, ...], Predicate]] = {}
        self._leaves: dict[str, Term] = {}
        self._variables: dict[str, Term] = {}
        self._strict_functions = self._functions()
        self._guards: dict[str, ColumnElement[bool]] = {}

    def where(self, condition: Any) -> ColumnElement[bool]:
        wanted = self._rule(condition, 0)
        if wanted.size > MAX_SIZE or wanted.depth > MAX_SQL_DEPTH or len(self._guards) > MAX_SIZE:
            raise Untranslatable("a filter that makes too much SQL")
        return and_(*self._guards.values(), wanted.sql())

    def _guard(self, name: str, expression: ColumnElement[bool]) -> None:
        """Keeps out rows of which an expression is false."""
        self._guards[name] = expression

    # ---- The tree -----------------------------------------------------------------

    def _operand(self, operand: Any, depth: int) -> tuple[str, Any]:
        """What an operand is, "value", "variable" or "expression", and its content."""
        self._count(1)
        if depth > MAX_DEPTH:
            raise Untranslatable("a filter that is nested too deep")
        if isinstance(operand, dict) and len(operand) == 1:
            ((what, content),) = operand.items()
            if what == "value" or what == "variable" and isinstance(content, str):
                return what, content
            if what == "expression" and isinstance(content, dict) and content.keys() == {"operator", "operands"}:
                operator, operands = content["operator"], content["operands"]
                if isinstance(operator, str) and isinstance(operands, list):
                    return what, (operator, operands)
        raise Untranslatable("an operand of an unknown form")

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise Untranslatable("a filter that is too large")

    def _rule(self, operand: Any, depth: int) -> Predicate:
        what, content = self._operand(operand, depth)
        if what == "value" and isinstance(content, bool):
            return constant(content)
        if what == "expression":
            operator, operands = content
            if operator in ("and", "or") and operands or operator == "not" and len(operands) == 1:
                return self._joined(operator, *(self._rule(o, depth + 1) for o in operands))
            if operator in ("holds", "errs") and len(operands) == 1:
                term = self._leaf(operands[0], depth + 1)
                return term.true if operator == "holds" else term.errs
        raise Untranslatable("a rule that is made of more than and, or, not, holds and errs")

    def _joined(self, operator: str, *parts: Predicate) -> Predicate:
        """Predicates joined; the same for the same, since what roles have in common is
        said for each of them, and is to be asked once."""
        key = (operator, *map(id, parts))
        if key not in self._rules:
            out = negation(*parts) if operator == "not" else both(*parts) if operator == "and" else either(*parts)
            self._rules[key] = (parts, out)  # the parts, too, so that no other gets the id of one
        return self._rules[key][1]

    def _leaf(self, operand: Any, depth: int) -> Term:
        """The term of a condition. Filters ask of the same one again and again: whether it
        holds for one rule or another, and whether it errs."""
        try:
            key = json.dumps(operand)
        except (RecursionError, TypeError, ValueError):
            raise Untranslatable("a condition that is nested too deep, or no JSON") from None
        if key not in self._leaves:
            self._leaves[key] = self._term(operand, depth)
        return self._leaves[key]

    def _term(self, operand: Any, depth: int) -> Term:
        what, content = self._operand(operand, depth)
        if what == "value":
            return self._constant(content)
        if what == "variable":
            return self._variable(content)
        operator, operands = content
        if operator == "has":
            return self._has(operands, depth)
        if operator in ("index", "get-field"):
            return self._variable(self._path(operand, depth))
        if operator == "list":
            raise Untranslatable("a list of attributes other than behind in")
        if operator == "in":
            out = self._in(operands, depth)
        else:
            terms = [self._term(o, depth + 1) for o in operands]
            special = {"and": _and, "or": _or, "not": _not, "if": _if}.get(operator)
            out = special(*terms) if special else self._strict(operator, terms)
        if out.size > MAX_SIZE or len(out.alternatives) > 64:
            raise Untranslatable("a filter that makes too much SQL")
        return out

    # ---- Constants and variables --------------------------------------------------

    def _constant(self, value: Any) -> Term:
        match value:
            case None:
                return of_value(Kind.NULL)
            case bool():
                return of_bool(constant(value))
            case int() | float():
                return of_value(Kind.DOUBLE, Number(known=float(value)))
            case str():
                return of_value(Kind.STRING, Text(known=_text(value)))
            case list() | dict():
                self._count(len(value))  # each member is compared by itself
                return of_value(Kind.LIST if isinstance(value, list) else Kind.MAP, value)
        raise Untranslatable("a constant that is no JSON")

    def _path(self, operand: Any, depth: int) -> str:
        """The variable that an index by a constant, or a selection from one, stands for."""
        what, content = self._operand(operand, depth)
        if what == "variable":
            name: str = content
            return name
        match content:
            case ("index", [_, {"value": str(key)}]) if "." in key:
                raise Untranslatable(f"{key}, an attribute with a dot in its name, which no column can be mapped to")
            case ("index", [of, {"value": str(key), **rest}]) if not rest and key:
                return f"{self._path(of, depth + 1)}.{key}"
            case ("get-field", [of, {"variable": str(key), **rest}]) if not rest and key and "." not in key:
                return f"{self._path(of, depth + 1)}.{key}"
        raise Untranslatable("an index that is not a constant")

    def _variable(self, name: str) -> Term:
        if name not in self._variables:
            self._variables[name] = self._read(name)
        return self._variables[name]

    def _read(self, name: str) -> Term:
        if name == POLICY_VERSION and self._columns.policy_version is not None:
            return of_value(Kind.STRING, Text(known=_text(self._columns.policy_version)))
        if self._in_scalar(name):
            return ERROR
        found = self._columns.find(name)
        if found is None:
            return ERROR
        there = atom(lambda: found.sql.is_not(None))
        usable, true_of, alternative = self._value(found, there)
        self._guard(name, found.sql.is_(None) | usable)
        nothing = negation(there)
        return Term(
            true=both(there, true_of),
            false=both(there, negation(true_of)) if found.kind is Kind.BOOL else FALSE,
            alternatives=(alternative,) * (alternative is not None)
            + (Alternative(nothing, Kind.NULL),) * (not found.missing),
            errs=nothing if found.missing else FALSE,
        )

    def _value(self, found: Attribute, there: Predicate) -> tuple[Any, Predicate, Any]:
        """What a column must be, where it is true, and what it is if it is no bool."""
        sql = found.sql
        match found.kind:
            case Kind.BOOL:
                return UsableBool(sql), atom(lambda: sql.is_(True)), None
            case Kind.STRING:
                text = Text(exact=ExactText(sql), indexed=sql if found.indexed else None)
                return UsableText(sql), FALSE, Alternative(there, Kind.STRING, text)
            case Kind.DATE_TEXT:
                return UsableInstant(sql), FALSE, Alternative(there, Kind.DATE_TEXT, sql)
        if found.whole:
            number = Number(sql=sql, whole=True, least=arithmetic.MIN_INT, most=arithmetic.MAX_INT)
            usable = UsableInteger(sql) if found.declared else UsableWhole(sql)
            return usable, FALSE, Alternative(there, Kind.DOUBLE, number)
        # What is declared as a double is one; decimals and the like must be made one.
        number = Number(sql=sql if found.declared and type(sql.type) is Double else AsDouble(sql))
        return UsableNumber(sql), FALSE, Alternative(there, Kind.DOUBLE, number)

    def _has(self, operands: list[Any], depth: int) -> Term:
        if len(operands) != 1:
            raise Untranslatable("has of more than one operand")
        name = self._path(operands[0], depth + 1)
        if not name.startswith(ATTRIBUTES + "."):
            raise Untranslatable("has of something else than an attribute")
        if self._in_scalar(name):
            return ERROR
        return of_bool(negation(self._variable(name).errs))

    def _in_scalar(self, name: str) -> bool:
        """Whether a variable is a part of something that has none, or that is not there."""
        if self._columns.knows(name):
            return False
        whole = name
        while "." in whole:
            whole, _, _ = whole.rpartition(".")
            if self._columns.knows(whole):
                return True
        raise Untranslatable(f"{name}, to which no column is mapped")

    # ---- Operators ----------------------------------------------------------------

    def _strict(self, operator: str, terms: list[Term]) -> Term:
        """An operator that is an error where an operand is, and else goes by values."""
        negated = operator == "ne"
        f = self._strict_functions.get((len(terms), "eq" if negated else operator))
        if f is None:
            raise Untranslatable(f"{operator} of {len(terms)} operands")
        true, false, errs = [], [], [t.errs for t in terms]
        alternatives: list[Alternative] = []
        for combination in product(*(_cases(t) for t in terms)):
            when = both(*(w for w, _ in combination))
            if when.never:
                continue
            out = f(*(c for _, c in combination))
            true.append(both(when, out.true))
            false.append(both(when, out.false))
            errs.append(both(when, out.errs))
            alternatives += [Alternative(both(when, a.when), a.kind, a.value) for a in out.alternatives]
        if negated:
            true, false = false, true
        return Term(either(*true), either(*false), tuple(alternatives), either(*errs))

    def _functions(self) -> dict[tuple[int, str], Callable[..., Term]]:
        out: dict[tuple[int, str], Callable[..., Term]] = {
            (1, "error"): lambda a: ERROR,  # what is known to fail
            (2, "eq"): _equal,
            (2, "add"): self._add,
            (2, "sub"): self._subtract,
            (1, "-_"): self._negate,
            (2, "timeSince"): self._since,
            (1, "size"): self._size,
            (1, "timestamp"): _timestamp,
            (1, "duration"): _duration,
            (1, "int"): _int,
            (1, "uint"): _uint,
            (1, "double"): _double,
            (1, "lowerAscii"): lambda a: self._letters(a, LowerASCII),
            (1, "upperAscii"): lambda a: self._letters(a, UpperASCII),
        }
        for name in ("lt", "le", "gt", "ge"):
            out[2, name] = lambda a, b, name=name: self._order(name, a, b)
        for name in ("mult", "div", "mod"):
            out[2, name] = lambda a, b, name=name: self._calculate(name, a, b)
        for name, (known, element) in _SEARCHES.items():
            out[2, name] = lambda a, b, known=known, element=element: _search(a, b, known, element)
        return out

    def _in(self, operands: list[Any], depth: int) -> Term:
        if len(operands) != 2:
            raise Untranslatable(f"in of {len(operands)} operands")
        x = self._term(operands[0], depth + 1)
        match operands[1]:
            case {"expression": {"operator": "list", "operands": list(elements)}}:
                self._operand(operands[1], depth + 1)
                return self._among(x, [self._term(e, depth + 1) for e in elements])
        over = self._term(operands[1], depth + 1)
        match over.alternatives:
            case (Alternative(when=when, kind=Kind.LIST | Kind.MAP, value=members),) if when.always:
                # Of a map the keys count.
                return self._among_constants(x, list(members))
        if any(a.kind in (Kind.LIST, Kind.MAP) for a in over.alternatives):
            raise Untranslatable("in a list that depends on the row")
        return ERROR  # in something that holds nothing

    def _among_constants(self, x: Term, members: list[Any]) -> Term:
        texts = [_text(m) for m in members if isinstance(m, str)]
        others = [self._constant(m) for m in members if not isinstance(m, str)]
        true = []
        for a in x.alternatives:
            if a.kind is Kind.STRING and texts:
                true.append(both(a.when, _one_of(a.value, texts)))
            if a.kind is Kind.DATE_TEXT:
                true += [_equals_date(t) for t in texts]
        among = self._among(x, others)
        found = either(*true, among.true)
        return Term(true=found, false=both(negation(x.errs), negation(found)), errs=x.errs)

    def _among(self, x: Term, members: list[Term]) -> Term:
        equal = [self._strict("eq", [x, m]) for m in members]
        errs = either(x.errs, *(m.errs for m in members))
        found = both(negation(errs), either(*(e.true for e in equal)))
        return Term(true=found, false=both(negation(errs), negation(found)), errs=errs)

    def _order(self, op: str, a: Case, b: Case) -> Term:
        if _is_nan(a) or _is_nan(b):
            # No comparison with it holds. CEL says so whatever the other is, as long as the
            # first is of a kind that has an order.
            return ERROR if a[0] in (Kind.NULL, Kind.LIST, Kind.MAP) else of_bool(FALSE)
        match a, b:
            case (Kind.BOOL, bool(x)), (Kind.BOOL, bool(y)):
                return of_bool(constant(COMPARISONS[op](x, y)))
            case (Kind.STRING, Text() as x), (Kind.STRING, Text() as y):
                return of_bool(self._order_texts(op, x, y))
            case (Kind.TIMESTAMP, Time() as x), (Kind.TIMESTAMP, Time() as y):
                return of_bool(instants.compare_times(op, x, y))
            case (Kind.DURATION, Span() as x), (Kind.DURATION, Span() as y):
                return of_bool(instants.compare_spans(op, x, y))
            case (x_kind, Number() as x), (y_kind, Number() as y):
                return of_bool(arithmetic.compare(op, x, x_kind, y, y_kind))
        return _error_unless_dates(a, b)

    def _order_texts(self, op: str, a: Text, b: Text) -> Predicate:
        if a.exact is None and b.exact is None:
            return constant(COMPARISONS[op](a.known, b.known))
        if a.exact is None:
            return self._order_texts(MIRRORED[op], b, a)
        self._guard("the order of texts", TextIsUTF8())
        return atom(lambda: COMPARISONS[op](a.exact, _text_sql(b)))

    def _size(self, a: Case) -> Term:
        match a:
            case (Kind.STRING, Text(exact=None, known=str(known))):
                return of_value(Kind.INT, Number(known=len(known)))
            case (Kind.STRING, Text() as text):
                self._guard("the length of texts", TextIsUTF8())
                return of_value(Kind.INT, Number(sql=Length(text.exact), whole=True, least=0, most=2**32))
            case (Kind.LIST | Kind.MAP, known):
                return of_value(Kind.INT, Number(known=len(known)))
        return _error_unless_dates(a)

    def _letters(self, a: Case, element: Any) -> Term:
        match a:
            case (Kind.STRING, Text(exact=None, known=str(known))):
                capital, small = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
                table = str.maketrans(capital, small) if element is LowerASCII else str.maketrans(small, capital)
                return of_value(Kind.STRING, Text(known=known.translate(table)))
            case (Kind.STRING, Text() as text):
                self._guard("small and capital letters", LowerIsASCII())
                return of_value(Kind.STRING, Text(exact=element(text.exact)))
        return _error_unless_dates(a)

    def _add(self, a: Case, b: Case) -> Term:
        match a, b:
            case (Kind.STRING, Text() as x), (Kind.STRING, Text() as y):
                if x.known is not None and y.known is not None:
                    return of_value(Kind.STRING, Text(known=x.known + y.known))
                return of_value(Kind.STRING, Text(exact=ExactText(Concatenated(_text_sql(x), _text_sql(y)))))
            case ((Kind.TIMESTAMP, Time() as t), (Kind.DURATION, Span() as s)) | (
                (Kind.DURATION, Span() as s),
                (Kind.TIMESTAMP, Time() as t),
            ):
                return _unless(Kind.TIMESTAMP, instants.shift(t, s, 1))
            case (Kind.DURATION, Span() as x), (Kind.DURATION, Span() as y):
                return _unless(Kind.DURATION, instants.add_spans(x, y, 1))
            case (Kind.LIST, _), (Kind.LIST, _):
                raise Untranslatable("lists that are joined")
        return self._calculate("add", a, b)

    def _subtract(self, a: Case, b: Case) -> Term:
        match a, b:
            case (Kind.TIMESTAMP, Time() as x), (Kind.TIMESTAMP, Time() as y):
                return _unless(Kind.DURATION, instants.between(x, y, self._guard_predicate))
            case (Kind.TIMESTAMP, Time() as t), (Kind.DURATION, Span() as s):
                return _unless(Kind.TIMESTAMP, instants.shift(t, s, -1))
            case (Kind.DURATION, Span() as x), (Kind.DURATION, Span() as y):
                return _unless(Kind.DURATION, instants.add_spans(x, y, -1))
        return self._calculate("sub", a, b)

    def _since(self, a: Case, b: Case) -> Term:
        """timeSince of an instant and the present one, which never overflows: more than a
        duration can be is the longest one."""
        match a, b:
            case (Kind.TIMESTAMP, Time() as t), (Kind.TIMESTAMP, Time() as now):
                spans = instants.since(t, now)
                return Term(alternatives=tuple(Alternative(when, Kind.DURATION, span) for when, span in spans))
        return ERROR

    def _calculate(self, op: str, a: Case, b: Case) -> Term:
        match a, b:
            case (Kind.DOUBLE, Number() as x), (Kind.DOUBLE, Number() as y) if op != "mod":
                return of_value(Kind.DOUBLE, arithmetic.calculate(op, x, y, self._guard_predicate))
            case (Kind.INT, Number() as x), (Kind.INT, Number() as y):
                result = arithmetic.calculate_ints(op, x, y)
                return ERROR if result is None else of_value(Kind.INT, result)
            case (Kind.UINT, _), (Kind.UINT, _):
                raise Untranslatable("a calculation with uints")
        return _error_unless_dates(a, b)

    def _negate(self, a: Case) -> Term:
        match a:
            case (Kind.DOUBLE, Number(known=float(known))):
                return of_value(Kind.DOUBLE, Number(known=-known))
            case (Kind.DOUBLE, _):
                return self._calculate("sub", (Kind.DOUBLE, Number(known=0.0)), a)
            case (Kind.INT, _):
                return self._calculate("sub", (Kind.INT, Number(known=0)), a)
            case (Kind.UINT | Kind.DURATION, _):
                raise Untranslatable("minus a uint or a duration")
        return ERROR

    def _guard_predicate(self, p: Predicate) -> None:
        if not p.always:
            # Of NULL there is nothing to calculate.
            self._guard(f"a calculation, {len(self._guards)}", func.coalesce(p.sql(), true()))


def _and(*terms: Term) -> Term:
    if not terms:
        raise Untranslatable("and of no operands")
    true, false = both(*(t.true for t in terms)), either(*(t.false for t in terms))
    return Term(true, false, errs=negation(either(true, false)))


def _or(*terms: Term) -> Term:
    if not terms:
        raise Untranslatable("or of no operands")
    true, false = either(*(t.true for t in terms)), both(*(t.false for t in terms))
    return Term(true, false, errs=negation(either(true, false)))


def _not(*terms: Term) -> Term:
    if len(terms) != 1:
        raise Untranslatable(f"not of {len(terms)} operands")
    return Term(terms[0].false, terms[0].true, errs=terms[0].no_bool)


def _if(*terms: Term) -> Term:
    if len(terms) != 3:
        raise Untranslatable(f"if of {len(terms)} operands")
    test, then, other = terms
    branches = [(test.true, then), (test.false, other)]
    return Term(
        either(*(both(w, t.true) for w, t in branches)),
        either(*(both(w, t.false) for w, t in branches)),
        tuple(
            Alternative(when, a.kind, a.value)
            for w, t in branches
            for a in t.alternatives
            if not (when := both(w, a.when)).never
        ),
        either(test.no_bool, *(both(w, t.errs) for w, t in branches)),
    )


def _cases(term: Term) -> list[tuple[Predicate, Case]]:
    """A Term by the values that it has and the rows on which it has them."""
    out: list[tuple[Predicate, Case]] = [(term.true, (Kind.BOOL, True)), (term.false, (Kind.BOOL, False))]
    out += [(a.when, (a.kind, a.value)) for a in term.alternatives]
    return [(when, value) for when, value in out if not when.never]


def _is_nan(case: Case) -> bool:
    """Whether a value is known to be NaN, which those of rows never are."""
    match case:
        case (Kind.DOUBLE, Number(known=float(known))):
            return math.isnan(known)
    return False


def _equal(a: Case, b: Case) -> Term:
    match a, b:
        case (Kind.NULL, _), (Kind.NULL, _):
            return of_bool(TRUE)
        case (Kind.BOOL, x), (Kind.BOOL, y):
            return of_bool(constant(x == y))
        case (Kind.STRING, Text() as x), (Kind.STRING, Text() as y):
            return of_bool(_equal_texts(x, y))
        case (Kind.TIMESTAMP, Time() as x), (Kind.TIMESTAMP, Time() as y):
            return of_bool(instants.compare_times("eq", x, y))
        case (Kind.DURATION, Span() as x), (Kind.DURATION, Span() as y):
            return of_bool(instants.compare_spans("eq", x, y))
        case (x_kind, Number() as x), (y_kind, Number() as y):
            return of_bool(arithmetic.compare("eq", x, x_kind, y, y_kind))
        case ((Kind.LIST, _), (Kind.LIST, _)) | ((Kind.MAP, _), (Kind.MAP, _)):
            raise Untranslatable("lists or maps that are compared")
        case ((Kind.DATE_TEXT, _), (Kind.STRING, Text() as text)) | ((Kind.STRING, Text() as text), (Kind.DATE_TEXT, _)):
            return of_bool(_equals_date(text.known))
        case (Kind.DATE_TEXT, _), (Kind.DATE_TEXT, _):
            raise Untranslatable("a date that is compared as text")
    return of_bool(FALSE)


def _equals_date(text: str | None) -> Predicate:
    """Whether a text that is known equals that of a date, of which only its form is known."""
    if text is None or instants.DATE.match(text):
        raise Untranslatable("a date that is compared as text")
    return FALSE


def _equal_texts(a: Text, b: Text) -> Predicate:
    if a.exact is None and b.exact is None:
        return constant(a.known == b.known)
    if a.exact is None:
        return _equal_texts(b, a)
    if b.known is not None:
        return _one_of(a, [b.known])
    return atom(lambda: COMPARISONS["eq"](a.exact, b.exact))


def _one_of(a: Text, texts: list[str]) -> Predicate:
    if a.exact is None:
        return constant(a.known in texts)
    distinct = list(dict.fromkeys(texts))

    def condition() -> ColumnElement[bool]:
        values = [literal(t, TextType()) for t in distinct]
        either_way = (a.indexed, a.exact)
        return and_(*(x.in_(values) if len(values) > 1 else x == values[0] for x in either_way if x is not None))

    # Texts that are equal by code points are so by every collation, so that the column
    # itself takes no row away. But indexes know it.
    return atom(condition, size=len(distinct))


def _text_sql(a: Text) -> Any:
    return literal(a.known, TextType()) if a.exact is None else a.exact


def _search(a: Case, b: Case, known: Callable[[str, str], bool], element: Any) -> Term:
    match a, b:
        case (Kind.STRING, Text() as x), (Kind.STRING, Text() as y):
            if x.known is not None and y.known is not None:
                return of_bool(constant(known(x.known, y.known)))
            return of_bool(TRUE if y.known == "" else atom(lambda: element(_text_sql(x), _text_sql(y))))
    return _error_unless_dates(a, b)


_SEARCHES: dict[str, tuple[Callable[[str, str], bool], Any]] = {
    "startsWith": (str.startswith, StartsWith),
    "endsWith": (str.endswith, EndsWith),
    "contains": (str.__contains__, Contains),
}


def _error_unless_dates(*cases: Case) -> Term:
    """The error of operands that an operator is not made for.

    It would be for the text of a date, which nobody knows here.
    """
    kinds = {kind for kind, _ in cases}
    if Kind.DATE_TEXT in kinds and kinds <= {Kind.DATE_TEXT, Kind.STRING}:
        raise Untranslatable("a date that is taken as text")
    return ERROR


def _unless(kind: Kind, result: tuple[Predicate, Any]) -> Term:
    fits, value = result
    return Term(alternatives=(Alternative(fits, kind, value),), errs=negation(fits))


def _timestamp(a: Case) -> Term:
    match a:
        case (Kind.TIMESTAMP, value):
            return of_value(Kind.TIMESTAMP, value)
        case (Kind.DATE_TEXT, sql):
            return of_value(Kind.TIMESTAMP, Time(sql))
        case (Kind.STRING, Text(known=str(known))):
            return of_value(Kind.TIMESTAMP, instants.parse_time(known))
        case (Kind.STRING | Kind.INT, _):
            raise Untranslatable("timestamp of what is no date")
    return ERROR


def _duration(a: Case) -> Term:
    match a:
        case (Kind.DURATION, value):
            return of_value(Kind.DURATION, value)
        case (Kind.STRING, Text(known=str(known))):
            return of_value(Kind.DURATION, instants.parse_span(known))
        case (Kind.STRING | Kind.INT | Kind.DATE_TEXT, _):
            raise Untranslatable("duration of what is no constant")
    return ERROR


def _int(a: Case) -> Term:
    match a:
        case (Kind.INT, value):
            return of_value(Kind.INT, value)
        case (Kind.DOUBLE, Number() as n):
            return _unless(Kind.INT, arithmetic.to_int(n))
        case (Kind.STRING, Text(known=str(known))):
            return of_value(Kind.INT, Number(known=_integer(known, arithmetic.MIN_INT, arithmetic.MAX_INT)))
        case (Kind.STRING | Kind.UINT | Kind.TIMESTAMP | Kind.DURATION | Kind.DATE_TEXT, _):
            raise Untranslatable("int of what is no number")
    return ERROR


def _uint(a: Case) -> Term:
    match a:
        case (Kind.UINT, value):
            return of_value(Kind.UINT, value)
        case (Kind.DOUBLE, Number(known=float(known))) if known.is_integer() and 0 <= known < 2**53:
            return of_value(Kind.UINT, Number(known=int(known)))
        case (Kind.STRING, Text(known=str(known))):
            return of_value(Kind.UINT, Number(known=_integer(known, 0, 2**64 - 1)))
        case (Kind.DOUBLE | Kind.INT | Kind.STRING | Kind.DATE_TEXT, _):
            raise Untranslatable("uint of what is no constant")
    return ERROR


def _integer(text: str, least: int, most: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and least <= int(text) <= most):
        raise Untranslatable("a text that is no integer")
    return int(text)


def _double(a: Case) -> Term:
    match a:
        case (Kind.DOUBLE, value):
            return of_value(Kind.DOUBLE, value)
        case (Kind.INT | Kind.UINT, Number() as n):
            if n.known is not None:
                return of_value(Kind.DOUBLE, Number(known=float(n.known)))
            return of_value(Kind.DOUBLE, Number(sql=n.sql, whole=True, least=n.least, most=n.most, cut=n.cut))
        case (Kind.STRING, Text(known="NaN" | "Inf" | "+Inf" | "-Inf" | "Infinity" | "+Infinity" | "-Infinity" as name)):
            return of_value(Kind.DOUBLE, Number(known=float(name)))
        case (Kind.STRING | Kind.DATE_TEXT, _):
            raise Untranslatable("double of what is no number")
    return ERROR
