"""Filters on one table: what is refused, what SQLite keeps, and what SQL is made."""

import operator
from datetime import datetime

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, String, Table, create_engine, not_, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import CompileError
from sqlalchemy.pool import StaticPool

import hostile
from databases import MAPPING, TABLE, fill, selected
from edict_fastapi import Columns, Untranslatable, translate
from edict_fastapi.translate import MAX_NODES
from trees import attr, v, x


@pytest.fixture(scope="module")
def connection():
    with create_engine("sqlite://", poolclass=StaticPool).begin() as connection:
        TABLE.metadata.create_all(connection)
        yield connection


def conditional(condition):
    return {"kind": "KIND_CONDITIONAL", "condition": condition}


AND_TOO_DEEP = v(True)
for _ in range(60):
    AND_TOO_DEEP = x("and", AND_TOO_DEEP)
DOUBLING = attr("paid")  # each level asks twice for what the one below it is
for _ in range(40):
    DOUBLING = x("if", DOUBLING, attr("paid"), attr("open"))

owner, amount, score, created = attr("owner"), attr("amount"), attr("score"), attr("created")
UNTRANSLATABLE = {
    "an attribute without a column": (x("eq", attr("salary"), v(1)), "salary"),
    "all attributes": ({"variable": "request.resource.attr"}, "no column is mapped"),
    "the policy version": (x("eq", {"variable": "request.resource.policyVersion"}, v("1")), "no column is mapped"),
    "something else": (x("eq", {"variable": "request.principal.id"}, v("1")), "no column is mapped"),
    "an unknown operator": (x("matches", owner, v("a.*")), "matches of 2 operands"),
    "an operator with too few operands": (x("eq", owner), "eq of 1 operands"),
    "has of something else": (x("has", {"variable": "request.resource.id"}), "than an attribute"),
    "an index that is not constant": (x("eq", x("index", {"variable": "request.resource.attr"}, owner), v(1)), "not a constant"),
    "a name with a dot": (x("eq", x("index", {"variable": "request.resource.attr"}, v("owner.name")), v(1)), "owner.name, an attribute with a dot"),
    "a date as text": (x("eq", created, v("2024-05-01T10:00:00Z")), "date"),
    "the order of a date as text": (x("lt", created, v("2024")), "date"),
    "the beginning of a date": (x("startsWith", created, v("2024")), "date"),
    "a date in a list of texts": (x("in", created, v(["2024-05-01T10:00:00Z"])), "date"),
    "a timestamp of text": (x("lt", x("timestamp", owner), x("timestamp", v("2024-05-01T10:00:00Z"))), "no date"),
    "a timestamp that is none": (x("lt", x("timestamp", v("yesterday")), x("timestamp", created)), "RFC 3339"),
    "a duration in hours": (x("lt", x("duration", v("1h")), x("duration", v("1s"))), "in seconds"),
    "a text with NUL": (x("eq", owner, v("a\0")), "can't take"),
    "half a surrogate": (x("eq", owner, v("\ud800")), "can't take"),
    "half a surrogate in a list": (x("in", owner, v(["\ud800"])), "can't take"),
    "division by a column": (x("gt", x("div", v(1), score), v(0)), "division"),
    "division by zero": (x("gt", x("div", score, v(0)), v(0)), "zero"),
    "doubles that could overflow": (x("gt", x("mult", score, v(1e300)), v(0)), "range of doubles"),
    "int of an int that is made a double": (x("gt", x("int", x("double", x("int", score))), v(0)), "int of what int made"),
    "int of a sum with an int": (x("gt", x("int", x("add", x("double", x("int", amount)), v(1.5))), v(0)), "int of what int made"),
    "ints that could overflow": (x("gt", x("add", x("int", score), x("int", v(1))), v(0)), "overflow"),
    "nesting": (AND_TOO_DEEP, "nested too deep"),
    "a long list": (x("in", amount, v([1] * MAX_NODES)), "too large"),
    "a long list of what is never equal": (x("in", amount, v([None] * MAX_NODES)), "too large"),
    "a large map": (x("in", owner, v({str(i): i for i in range(MAX_NODES)})), "too large"),
    "a small tree that makes much SQL": (DOUBLING, "too much SQL"),
    "many operands": (x("or", *[x("eq", owner, v(str(i))) for i in range(3000)]), "too"),
    "a list": (x("in", owner, x("if", attr("paid"), v(["a"]), v(["b"]))), "depends on the row"),
    "a map": (x("eq", v({}), v({})), "maps"),
}


@pytest.mark.parametrize("name", UNTRANSLATABLE)
def test_what_can_not_be_said_exactly_is_refused(name):
    condition, reason = UNTRANSLATABLE[name]
    with pytest.raises(Untranslatable, match=reason):
        translate(conditional(x("holds", condition)), MAPPING)


@pytest.mark.parametrize("condition", [owner, v("x"), x("eq", owner, v("a")), x("holds", owner, owner), x("and"), x("not", v(True), v(True)), v(1)])
def test_rules_are_made_of_holds_and_errs(condition):
    with pytest.raises(Untranslatable):
        translate(conditional(condition), MAPPING)


NAN = x("double", v("NaN"))
AMY = hostile.row("amy", owner="amy", amount=7, score=0.5, paid=True, created="2024-05-01T10:00:00.000001Z")
NULL = hostile.row("null")
# Of the columns, region, stock, rate, open and closed are missing where they are NULL.
SELECTED = {
    "constants": (x("and", v(True), x("not", v(False))), {"amy", "null"}),
    "null is null": (x("holds", x("eq", owner, v(None))), {"null"}),
    "missing is no null": (x("holds", x("eq", attr("region"), v(None))), set()),
    "missing errs": (x("errs", x("eq", attr("region"), v(None))), {"amy", "null"}),
    "has": (x("holds", x("has", owner)), {"amy", "null"}),
    "has not": (x("holds", x("has", attr("region"))), set()),
    "null is not text": (x("holds", x("ne", owner, v("amy"))), {"null"}),
    "null has no order": (x("errs", x("lt", owner, v("b"))), {"null"}),
    "a text is no bool": (x("not", x("holds", owner)), {"amy", "null"}),
    "a text as a condition does not err": (x("errs", owner), set()),
    "not of a text errs": (x("errs", x("not", owner)), {"amy", "null"}),
    "false and error": (x("errs", x("and", v(False), attr("region"))), set()),
    "true and error": (x("errs", x("and", attr("region"), v(True))), {"amy", "null"}),
    "error or true": (x("holds", x("or", attr("region"), v(True))), {"amy", "null"}),
    "the branch that is not taken": (x("holds", x("if", x("has", attr("region")), attr("region"), x("eq", owner, v("amy")))), {"amy"}),
    "what is never sent": (x("errs", attr("nowhere")), {"amy", "null"}),
    "a part of what is never sent": (x("errs", x("has", attr("nowhere.deeper"))), {"amy", "null"}),
    "a part of a text": (x("errs", x("eq", attr("owner.name"), v(1))), {"amy", "null"}),
    "an index by a name": (x("holds", x("eq", x("index", {"variable": "request.resource.attr"}, v("owner")), v("amy"))), {"amy"}),
    "the id": (x("holds", x("eq", {"variable": "request.resource.id"}, v("null"))), {"null"}),
    "in nothing": (x("holds", x("in", owner, v([]))), set()),
    "in null": (x("holds", x("in", owner, v([None, 1]))), {"null"}),
    "in the keys of a map": (x("holds", x("in", owner, v({"amy": 1}))), {"amy"}),
    "in a text": (x("errs", x("in", owner, owner)), {"amy", "null"}),
    "a date is no other text": (x("holds", x("or", x("eq", created, v("amy")), x("in", created, v(["2024", ""])))), set()),
    "a date is not another text": (x("holds", x("ne", v("2024-05-01 10:00:00"), created)), {"amy", "null"}),
    "true is not 1": (x("holds", x("eq", attr("paid"), v(1))), set()),
    "a number is no text": (x("holds", x("eq", amount, v("7"))), set()),
    "between two integers": (x("holds", x("lt", amount, v(7.5))), {"amy"}),
    "a double is no int": (x("errs", x("gt", x("add", amount, x("int", v(1))), v(0))), {"amy", "null"}),
    "the rest of a division": (x("holds", x("eq", x("mod", x("int", amount), x("int", v(4))), v(3))), {"amy"}),
    "nanoseconds": (x("holds", x("gt", x("timestamp", created), x("timestamp", v("2024-05-01T10:00:00.000000999Z")))), {"amy"}),
    "another zone": (x("holds", x("lt", x("timestamp", created), x("timestamp", v("2024-05-01T12:00:00.000002+02:00")))), {"amy"}),
    "infinity": (x("holds", x("lt", amount, x("double", v("+Inf")))), {"amy"}),
    "NaN": (x("holds", x("ne", amount, x("double", v("NaN")))), {"amy", "null"}),
    "the order of NaN": (x("holds", x("or", *[x(o, amount, NAN) for o in ("lt", "le", "gt", "ge")])), set()),
    "the order of a text and NaN": (x("holds", x("not", x("le", owner, NAN))), {"amy"}),
    "the order of NaN and null": (x("errs", x("ge", NAN, owner)), set()),
    "the order of null and NaN": (x("errs", x("ge", owner, NAN)), {"null"}),
    "the order of a date and NaN": (x("errs", x("lt", created, NAN)), {"null"}),
    "longest since": (
        x("holds", x("gt", x("timeSince", x("timestamp", created), x("timestamp", v("9999-01-01T00:00:00Z"))), x("duration", v("9223372036s")))),
        {"amy"},
    ),
    "no longest difference": (
        x("errs", x("gt", x("sub", x("timestamp", v("9999-01-01T00:00:00Z")), x("timestamp", created)), x("duration", v("1s")))),
        {"amy", "null"},
    ),
    "what always fails": (x("errs", x("and", v(True), x("error", v("no such key")))), {"amy", "null"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SELECTED)
def test_selected(connection, name):
    condition, expected = SELECTED[name]
    fill(connection, [AMY, NULL])
    assert selected(connection, condition) == expected
    # Whoever negates what a route got gets the other rows.
    where = translate(conditional(condition), MAPPING)
    assert set(connection.execute(select(TABLE.c.id).where(not_(where))).scalars()) == {"amy", "null"} - expected


def test_texts_are_compared_by_code_points(connection):
    hostile.check_texts(connection)


def test_values_that_no_attribute_has_are_kept_out(connection):
    hostile.check_doubles(connection, ["9e999", "-9e999", "'x'", "x'00'"])
    hostile.check_times(connection, ["'2024-05-01T10:00:00'", "'2024-05-01'", "'now'", "1714557600", "'2024-13-01 00:00:00'", "'0000-01-01 00:00:00'"])
    hostile.check_texts_of_other_types(connection, ["x'616d79'", "'amy' || char(0)", "'amy' || char(0) || 'x'"])
    hostile.check_ints(connection, ["1.5", "'x'", "x'01'", "9e18 * 9"])
    hostile.check_bools(connection, ["2", "-1", "'true'", "0.5"])
    hostile.check_expressions_of_integers(connection)


def test_sqlite_writes_dates_in_three_ways(connection):
    fill(connection, [])
    for form in ("2024-05-01 10:00:00", "2024-05-01 10:00:00.000", "2024-05-01 10:00:00.000000"):
        connection.execute(text("insert into rows (id, created) values (:form, :form)"), {"form": form})
    at = x("timestamp", v("2024-05-01T10:00:00Z"))
    assert len(selected(connection, x("holds", x("eq", x("timestamp", created), at)))) == 3
    assert selected(connection, x("holds", x("lt", x("timestamp", created), at))) == set()
    assert len(selected(connection, x("holds", x("eq", x("sub", x("timestamp", created), at), x("duration", v("0s")))))) == 3


def test_drivers_see_no_instant_that_they_take_for_infinity(connection):
    """asyncpg does so with the first and the last that Python has."""
    ends = {"first": "0001-01-01T00:00:00.000000Z", "second": "0001-01-01T00:00:00.000001Z", "last": "9999-12-31T23:59:59.999999Z"}
    fill(connection, [hostile.row(name, created=at) for name, at in ends.items()])
    checks = {"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}
    for name, check in checks.items():
        for at in ends.values():
            condition = x("holds", x(name, x("timestamp", created), x("timestamp", v(at))))
            assert selected(connection, condition) == {n for n, t in ends.items() if check(t, at)}, (name, at)
            params = translate(conditional(condition), MAPPING).compile(dialect=postgresql.dialect()).params.values()
            assert not {datetime.min, datetime.max} & set(params), (name, at)


def test_no_percent_sign_is_left_to_drivers():
    remainder = x("eq", x("mod", x("int", amount), x("int", v(4))), v(3))
    since = x("gt", x("sub", x("timestamp", created), x("timestamp", attr("closed"))), x("duration", v("1s")))
    for asked in (remainder, since):
        sql = translate(conditional(x("holds", asked)), MAPPING).compile(dialect=postgresql.dialect(paramstyle="named"))
        assert "%" not in str(sql)


def test_a_collation_that_ignores_case_changes_nothing(connection):
    table = Table("cased", MetaData(), Column("id", Integer, primary_key=True), Column("owner", String(collation="NOCASE")))
    table.create(connection)
    connection.execute(table.insert(), [{"owner": "amy"}, {"owner": "AMY"}])
    where = translate(conditional(x("holds", x("eq", owner, v("amy")))), Columns(table, {"owner": table.c.owner}))
    assert connection.execute(select(table.c.owner).where(where)).scalars().all() == ["amy"]


def test_an_index_is_used(connection):
    table = Table("indexed", MetaData(), Column("id", Integer, primary_key=True), Column("owner", String), Column("amount", Integer))
    Index("by_owner", table.c.owner), Index("by_amount", table.c.amount)
    table.create(connection)
    columns = Columns(table, {"owner": table.c.owner, "amount": table.c.amount})
    for asked, index in ((x("eq", owner, v("amy")), "by_owner"), (x("in", owner, v(["a", "b"])), "by_owner"), (x("ge", amount, v(5)), "by_amount")):
        query = select(table).where(translate(conditional(x("holds", asked)), columns))
        sql = query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
        assert index in str(connection.execute(text(f"explain query plan {sql}")).all())


def test_other_databases_are_refused():
    query = select(TABLE).where(translate(conditional(x("holds", x("eq", owner, v("amy")))), MAPPING))
    query.compile(dialect=postgresql.dialect())
    with pytest.raises(CompileError, match="not made for mysql"):
        query.compile(dialect=mysql.dialect())


def test_the_largest_filter_can_be_run(connection):
    """What is not refused as too large is not too large for SQLAlchemy and SQLite either."""
    fill(connection, [AMY, NULL])
    many = [x("holds", x("or", *[x("startsWith", owner, v(f"{i}{j}")) for j in range(9)], v(False))) for i in range(60)]
    assert selected(connection, x("or", *many, x("holds", x("eq", owner, v("amy"))))) == {"amy"}
    deep = x("eq", owner, v("amy"))
    for i in range(44):
        deep = x("or", x("eq", owner, v(str(i))), x("and", x("has", owner), deep)) if i % 2 else x("not", x("not", deep))
    try:
        assert selected(connection, x("holds", deep)) == {"amy"}
    except Untranslatable as e:
        assert "too" in str(e)
    assert selected(connection, x("holds", x("in", owner, v([f"{i}" for i in range(3000)] + ["amy"])))) == {"amy"}
