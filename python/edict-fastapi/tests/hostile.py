"""Rows that are read in another way than they are written, on any database."""

from sqlalchemy import func, select, text

from databases import TABLE, fill, selected
from edict_fastapi import Columns, translate
from trees import COLUMNS, attr, v, x


def row(id, **values):
    return {"id": id} | dict.fromkeys(COLUMNS) | values


TEXTS = ["amy", "Amy", "AMY", "am_", "am%", "amyx", "É", "é", "e\u0301", "", " amy", "amy ", "B", "a", "𝔸", "\uffff", "\\"]


def check_texts(connection):
    """Every pair of texts compares as Python compares them, which is by code points."""
    fill(connection, [row(f"r{i}", owner=t) for i, t in enumerate(TEXTS)])
    checks = {
        "eq": lambda a, b: a == b,
        "ne": lambda a, b: a != b,
        "lt": lambda a, b: a < b,
        "ge": lambda a, b: a >= b,
        "startsWith": str.startswith,
        "endsWith": str.endswith,
        "contains": str.__contains__,
    }
    for operator, check in checks.items():
        for t in TEXTS:
            got = selected(connection, x("holds", x(operator, attr("owner"), v(t))))
            assert got == {f"r{i}" for i, s in enumerate(TEXTS) if check(s, t)}, (operator, t)
    got = selected(connection, x("holds", x("in", attr("owner"), v(["amy", "É", "B "]))))
    assert got == {f"r{TEXTS.index('amy')}", f"r{TEXTS.index('É')}"}


def _check(connection, column, good, literals, questions):
    """Rows with a literal that no attribute has are never selected, and make no query fail."""
    fill(connection, [row("good", **{column: good})])
    for i, literal in enumerate(literals):
        connection.execute(text(f"insert into rows (id, {column}) values ('bad{i}', {literal})"))
    for question in questions:
        for leaf in (x("holds", question), x("errs", question)):
            either_way = selected(connection, leaf) | selected(connection, x("not", leaf))
            assert either_way == {"good"}, f"{either_way}: {leaf}"


def check_doubles(connection, literals):
    score = attr("score")
    questions = [
        x("gt", score, v(0.5)),
        x("lt", score, v(1e308)),
        x("eq", score, score),
        x("eq", score, v("1")),
        x("ge", x("mult", score, v(2)), v(0)),
        x("ge", x("add", score, score), v(0)),
        x("ge", x("int", score), v(0)),
    ]
    _check(connection, "score", 1.0, literals, questions)


def check_times(connection, literals):
    created = x("timestamp", attr("created"))
    then = x("timestamp", v("2024-05-01T10:00:00Z"))
    questions = [
        x("gt", created, then),
        x("eq", attr("created"), v(None)),
        x("ge", x("sub", then, created), x("duration", v("0s"))),
        x("ge", x("timeSince", created, then), x("duration", v("0s"))),
        x("ge", x("add", created, x("duration", v("3600s"))), then),
    ]
    _check(connection, "created", "2024-05-01T10:00:00Z", literals, questions)


def check_texts_of_other_types(connection, literals):
    owner = attr("owner")
    questions = [
        x("eq", owner, v("amy")),
        x("ne", owner, v(None)),
        x("lt", owner, v("b")),
        x("ge", x("size", owner), v(0)),
        x("startsWith", owner, v("a")),
    ]
    _check(connection, "owner", "amy", literals, questions)


def check_ints(connection, literals):
    amount = attr("amount")
    questions = [x("ge", amount, v(0)), x("eq", amount, v("x")), x("ge", x("add", amount, v(1)), v(0)), x("eq", amount, attr("score"))]
    _check(connection, "amount", 1, literals, questions)


def check_bools(connection, literals):
    _check(connection, "paid", True, literals, [attr("paid"), x("not", attr("paid")), x("eq", attr("paid"), v(None))])


def check_expressions_of_integers(connection):
    """Of an expression that is an integer to SQLAlchemy, rows where it is none are not selected."""
    fill(connection, [row("whole", amount=1), row("half")])
    columns = Columns(TABLE, {"amount": func.coalesce(TABLE.c.amount, 0.5)})
    for question in (x("eq", attr("amount"), v(0.5)), x("ge", attr("amount"), v(0)), x("eq", attr("amount"), v("x"))):
        for condition in (x("holds", question), x("not", x("holds", question))):
            where = translate({"kind": "KIND_CONDITIONAL", "condition": condition}, columns)
            assert "half" not in connection.execute(select(TABLE.c.id).where(where)).scalars().all(), condition
    where = translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", x("eq", attr("amount"), v(1)))}, columns)
    assert connection.execute(select(TABLE.c.id).where(where)).scalars().all() == ["whole"]
