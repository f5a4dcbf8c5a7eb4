"""The table of tests/trees.py on SQLite and PostgreSQL."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, MetaData, String, Table, insert, select

from edict_fastapi import Columns, translate
from trees import COLUMNS, MISSING

TYPES = {"string": String, "int": BigInteger, "double": Double, "bool": Boolean, "timestamp": DateTime}
TABLE = Table(
    "rows", MetaData(), Column("id", String, primary_key=True), *(Column(n, TYPES[t]) for n, (t, _) in COLUMNS.items())
)
MAPPING = Columns(
    TABLE, {n: TABLE.c[n] for n in COLUMNS} | {"nowhere": None}, missing_when_null=MISSING, resource_id=TABLE.c.id
)


def moment(text):
    """What a column holds of a time in UTC."""
    if text is None:
        return None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(microsecond=int(fraction.ljust(6, "0")))


def stored(name, value):
    return moment(value) if COLUMNS.get(name, ("",))[0] == "timestamp" else value


def attributes(row):
    return {n: v for n, v in row.items() if n != "id" and not (v is None and n in MISSING)}


def fill(connection, rows):
    connection.execute(TABLE.delete())
    if rows:
        connection.execute(insert(TABLE), [{n: stored(n, v) for n, v in row.items()} for row in rows])


def selected(connection, condition):
    """The ids of the rows that a filter with a condition selects."""
    where = translate({"kind": "KIND_CONDITIONAL", "condition": condition}, MAPPING)
    return set(connection.execution_options(compiled_cache=None).execute(select(TABLE.c.id).where(where)).scalars())
