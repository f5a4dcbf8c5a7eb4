"""Which columns hold the attributes that policies speak of, and what is in them.

What always holds here: a column whose values could reach Edict in more than one form
is refused when the service starts, with what to map in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Cast, ColumnClause, ColumnElement, Join, select, types
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import RelationshipProperty

from .errors import Misconfigured
from .terms import Kind

ATTRIBUTES = "request.resource.attr"
RESOURCE_ID = "request.resource.id"
POLICY_VERSION = "request.resource.policyVersion"


@dataclass(frozen=True, eq=False)
class Attribute:
    """One mapped value.

    whole: the numbers are SQL integers. declared: they are of the SQL type that SQLAlchemy
    says, as those of columns and casts are; of other expressions, such as coalesce(column,
    0.5), it says the type of a part. indexed: the text may be compared as it is, too, for
    the sake of indexes. missing: NULL is an attribute that is not there, else null.
    """

    sql: ColumnElement[Any]
    kind: Kind
    whole: bool = False
    declared: bool = False
    indexed: bool = False
    missing: bool = False


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a model by the names of the attributes that Edict is told.

    attributes maps "owner" or, for a part of an attribute that is an object,
    "address.city" to a column, a SQL expression or a hybrid attribute of the model; to
    None if checks never send this attribute. NULL is the value null, as in the JSON of
    most services; missing_when_null names the attributes that checks leave out instead.
    resource_id is what checks send as the resource's id: text. policy_version is what
    they send as its policy version.
    """

    model: Any
    attributes: Mapping[str, Any]
    missing_when_null: Collection[str] = ()
    resource_id: Any = None
    policy_version: str | None = None
    _by_variable: dict[str, Attribute | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        tables = _tables(self.model)
        if isinstance(self.missing_when_null, str):
            raise Misconfigured("missing_when_null is a list of attributes, not one text")
        if unknown := set(self.missing_when_null) - set(self.attributes):
            raise Misconfigured(f"missing_when_null names {sorted(unknown)}, which no column is mapped to")
        for name, mapped in self.attributes.items():
            if not all(name.split(".")):
                raise Misconfigured(f"{name!r} is no name of an attribute")
            self._by_variable[f"{ATTRIBUTES}.{name}"] = (
                None if mapped is None else _attribute(name, mapped, name in self.missing_when_null, tables)
            )
        for name in self.attributes:
            if any(name.startswith(f"{other}.") for other in self.attributes):
                raise Misconfigured(f"{name} is a part of an attribute that is mapped to one column, too")
        if self.resource_id is not None:
            key = _attribute("resource_id", self.resource_id, False, tables)
            if key.kind is not Kind.STRING:
                raise Misconfigured("the id of a resource is text to Edict: map cast(column, String) as resource_id")
            self._by_variable[RESOURCE_ID] = key

    def knows(self, variable: str) -> bool:
        return variable in self._by_variable

    def find(self, variable: str) -> Attribute | None:
        """What a variable is mapped to; None if it is never there."""
        return self._by_variable[variable]


def _tables(model: Any) -> set[Any]:
    try:
        return _with_joined(select(model).get_final_froms())
    except ArgumentError as e:
        raise Misconfigured(f"{model!r} is no model or table of SQLAlchemy") from e


def _with_joined(froms: Iterable[Any]) -> set[Any]:
    """The tables, and those that they join, as models with inherited tables do."""
    out: set[Any] = set()
    for table in froms:
        out.add(table)
        if isinstance(table, Join):
            out |= _with_joined((table.left, table.right))
    return out


def _attribute(name: str, mapped: Any, missing: bool, tables: set[Any]) -> Attribute:
    sql = mapped.__clause_element__() if hasattr(mapped, "__clause_element__") else mapped
    if not isinstance(sql, ColumnElement) or isinstance(getattr(mapped, "property", None), RelationshipProperty):
        raise Misconfigured(f"{name} is mapped to {mapped!r}, which is no column and no SQL expression of one value")
    # A column of another table would join that table to every row.
    if not set(select(sql).get_final_froms()) <= tables:
        raise Misconfigured(f"{name} is mapped to a column that the model does not have; use a scalar subquery")
    return _typed(name, sql, missing)


def _typed(name: str, sql: ColumnElement[Any], missing: bool) -> Attribute:
    column_type = sql.type
    known = type(column_type)
    own = known.__module__.startswith("sqlalchemy.")  # a class of somebody else may do anything with values
    declared = isinstance(sql, (ColumnClause, Cast))
    if known in (types.String, types.Text, types.Unicode, types.UnicodeText, types.VARCHAR, types.TEXT, types.NVARCHAR):
        return Attribute(sql, Kind.STRING, indexed=True, missing=missing)
    if own and isinstance(column_type, types.Enum):
        _check_enum(name, column_type)
        return Attribute(sql, Kind.STRING, missing=missing)
    if own and isinstance(column_type, types.Integer):
        return Attribute(sql, Kind.DOUBLE, whole=True, declared=declared, missing=missing)
    if own and isinstance(column_type, (types.Numeric, types.Float)):
        _check_number(name, column_type)
        return Attribute(sql, Kind.DOUBLE, declared=declared, missing=missing)
    if known in (types.Boolean, types.BOOLEAN):
        return Attribute(sql, Kind.BOOL, missing=missing)
    if known in (types.DateTime, types.DATETIME, types.TIMESTAMP):
        return Attribute(sql, Kind.DATE_TEXT, missing=missing)
    hint = {
        types.Date: "map a text that is what checks send",
        types.Time: "map a text that is what checks send",
        types.Uuid: "map cast(column, String) on PostgreSQL",
        types.JSON: "keep the member that policies read in a column of its own, or in a generated one",
        types.NullType: "give its type by type_coerce(…)",
        types.TypeDecorator: "what it makes of values only Python knows; give the type that is stored by type_coerce(…)",
        types.CHAR: "databases pad it with spaces; map cast(column, String)",
    }
    for base, advice in hint.items():
        if isinstance(column_type, base):
            raise Misconfigured(f"{name} is mapped to a {column_type!r}, which is not clear: {advice}")
    raise Misconfigured(f"{name} is mapped to a {column_type!r}, which filters can't use")


def _check_enum(name: str, enum: Any) -> None:
    """What is stored must be what is sent, which an enumeration of Python leaves open."""
    if enum.enum_class is None:
        return
    # SQLAlchemy stores of each member, in their order, what enums has in its place.
    if [member.value for member in enum.enum_class] != enum.enums:
        raise Misconfigured(
            f"{name} is mapped to an Enum that stores names, while checks most likely send values; "
            "give it values_callable, or map a case(…) of what checks send"
        )


def _check_number(name: str, number: Any) -> None:
    if number.asdecimal:
        raise Misconfigured(
            f"{name} is mapped to decimals, which checks may send as numbers or as text; "
            "map cast(column, Double) or cast(column, String), as they do"
        )
    if not isinstance(number, types.Float) and not (number.precision and number.precision <= 300):
        raise Misconfigured(f"{name} is mapped to a number of any size; give it a precision up to 300")
    if isinstance(number, types.REAL) or (isinstance(number, types.Float) and (number.precision or 53) <= 24):
        raise Misconfigured(f"{name} is mapped to numbers of single precision, which read as others; map cast(column, String) or use Double")
