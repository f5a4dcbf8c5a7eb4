"""What cerbos-sqlalchemy makes of filters, beside what CEL and this package say.

docs/row-filters.md has these rows as a table. The package is not needed otherwise, so the
test runs only where it is installed.
"""

import re
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, MetaData, String, Table, create_engine, insert, select

import cel
from edict_fastapi import Columns, translate
from trees import attr, v, x

PAGE = Path(__file__).resolve().parents[3] / "docs" / "row-filters.md"

TABLE = Table(
    "rows",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("owner", String),
    Column("region", String),
    Column("amount", BigInteger),
    Column("score", Double),
    Column("paid", Boolean),
    Column("created", DateTime),
)
ROWS = [
    {"id": "amy", "owner": "amy", "region": "emea", "amount": 1, "score": 1.0, "paid": True},
    {"id": "Amy", "owner": "Amy", "region": "EMEA", "amount": 9007199254740993, "score": 0.5, "paid": False},
    {"id": "null", "owner": None, "region": None, "amount": None, "score": None, "paid": None},
]
NAMES = ["owner", "region", "amount", "score", "paid", "created"]
MISSING = ["region"]

# What is asked, as CEL, and as a plan has it.
CASES = {
    'owner == null': x("eq", attr("owner"), v(None)),
    'owner != "amy"': x("ne", attr("owner"), v("amy")),
    '!(owner == "amy")': x("not", x("eq", attr("owner"), v("amy"))),
    'region != "emea"': x("ne", attr("region"), v("emea")),
    '!has(region)': x("not", x("has", attr("region"))),
    'region == "emea" || !(region == "emea")': x("or", x("eq", attr("region"), v("emea")), x("not", x("eq", attr("region"), v("emea")))),
    'owner == "amy" || !(owner == "amy")': x("or", x("eq", attr("owner"), v("amy")), x("not", x("eq", attr("owner"), v("amy")))),
    'owner.startsWith("a")': x("startsWith", attr("owner"), v("a")),
    '!owner.contains("A")': x("not", x("contains", attr("owner"), v("A"))),
    'owner == 1': x("eq", attr("owner"), v(1)),
    'amount == "1"': x("eq", attr("amount"), v("1")),
    'paid == 1': x("eq", attr("paid"), v(1)),
    '!(amount == "1")': x("not", x("eq", attr("amount"), v("1"))),
    'owner in ["amy", null]': x("in", attr("owner"), v(["amy", None])),
    'amount == 9007199254740992.0': x("eq", attr("amount"), v(9007199254740992.0)),
    'amount + score > 1.0': x("gt", x("add", attr("amount"), attr("score")), v(1.0)),
    'size(owner) == 3': x("eq", x("size", attr("owner")), v(3)),
    'score < owner': x("lt", attr("score"), attr("owner")),
    '!paid': x("not", attr("paid")),
    'paid ? true : owner == null': x("if", attr("paid"), v(True), x("eq", attr("owner"), v(None))),
}


def by_cel(expression):
    wanted = x("holds", expression)
    rows = []
    for row in ROWS:
        attributes = {n: row.get(n) for n in NAMES if not (row.get(n) is None and n in MISSING)}
        if cel.holds(wanted, attributes, row["id"]):
            rows.append(row["id"])
    return rows


def run(query):
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        TABLE.metadata.create_all(connection)
        connection.execute(insert(TABLE), ROWS)
        return [row.id for row in connection.execute(query)]


def by_edict(expression):
    mapping = Columns(TABLE, {n: TABLE.c[n] for n in NAMES}, missing_when_null=MISSING)
    return run(select(TABLE.c.id).where(translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", expression)}, mapping)))


def by_cerbos_sqlalchemy(expression):
    cerbos_sqlalchemy = pytest.importorskip("cerbos_sqlalchemy", reason="cerbos-sqlalchemy is not installed")
    from cerbos.sdk.model import PlanResourcesFilter, PlanResourcesFilterKind, PlanResourcesResponse

    condition = PlanResourcesFilter.from_dict({"kind": "KIND_CONDITIONAL", "condition": expression}).condition
    plan = PlanResourcesResponse(
        request_id="1",
        action="view",
        resource_kind="expense",
        policy_version="default",
        filter=PlanResourcesFilter(PlanResourcesFilterKind.CONDITIONAL, condition),
    )
    try:
        return run(cerbos_sqlalchemy.get_query(plan, TABLE, {f"request.resource.attr.{n}": TABLE.c[n] for n in NAMES}))
    except Exception as e:
        return type(e).__name__


@pytest.mark.parametrize("source", CASES)
def test_this_package_says_what_cel_says(source):
    assert by_edict(CASES[source]) == by_cel(CASES[source])


def shown(answer):
    return answer if isinstance(answer, str) else ", ".join(f"`{a}`" for a in answer) or "none"


def test_the_page_shows_what_was_measured():
    measured = [f"| `{s}` | {shown(by_cel(e))} | {shown(by_cerbos_sqlalchemy(e))} |" for s, e in CASES.items()]
    page = PAGE.read_text()
    shown_rows = re.findall(r"(?m)^\| `.+` \| .+ \| .+ \|$", page.split("cerbos-sqlalchemy", 1)[1].replace(r"\|", "|"))
    assert [m for m in measured if m not in shown_rows] == []
