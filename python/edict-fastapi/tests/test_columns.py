"""What attributes can be mapped to, and what is refused when a service starts."""

import enum

import pytest
from sqlalchemy import (
    CHAR, JSON, REAL, BigInteger, Boolean, Column, Date, DateTime, Double, Enum, Float, ForeignKey, Integer, LargeBinary,
    MetaData, Numeric, SmallInteger, String, Table, Text, Time, TypeDecorator, Uuid, case, cast, create_engine, func,
    literal, select,
)  # fmt: skip
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, column_property, mapped_column, relationship

from edict_fastapi import Columns, Misconfigured, translate
from trees import attr, v, x


class Status(enum.Enum):
    OPEN = "open"
    CLOSED = "closed"


class Same(enum.Enum):
    open = "open"
    closed = "closed"


class Swapped(enum.Enum):
    open = "closed"
    closed = "open"


class Upper(TypeDecorator):
    impl = String
    cache_ok = True


class Base(DeclarativeBase):
    pass


class Team(Base):
    __tablename__ = "team"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String)


class Expense(Base):
    __tablename__ = "expense"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String)
    owner: Mapped[str | None] = mapped_column(String)
    cents: Mapped[int | None] = mapped_column(Integer)
    data: Mapped[dict | None] = mapped_column(JSON)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("team.id"))
    team: Mapped[Team | None] = relationship()
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "expense"}

    @hybrid_property
    def amount(self):
        return self.cents / 100

    @amount.inplace.expression
    @classmethod
    def _amount(cls):
        return cast(cls.cents, Double) / 100.0


class Travel(Expense):
    __tablename__ = "travel"
    id: Mapped[int] = mapped_column(ForeignKey("expense.id"), primary_key=True)
    to: Mapped[str] = mapped_column(String)
    __mapper_args__ = {"polymorphic_identity": "travel"}


Expense.shout = column_property(func.upper(Expense.owner, type_=String))


def of_type(column_type):
    table = Table("t", MetaData(), Column("c", column_type))
    return Columns(table, {"c": table.c.c})


@pytest.mark.parametrize(
    "column_type",
    [String, String(9), Text, Integer, BigInteger, SmallInteger, Double, Float, Float(53), Boolean, DateTime, DateTime(timezone=True),
     Numeric(10, 2, asdecimal=False), Enum("a", "b"), Enum(Same), Enum(Status, values_callable=lambda e: [m.value for m in e])],
    ids=repr,
)  # fmt: skip
def test_types_that_are_clear(column_type):
    of_type(column_type)


@pytest.mark.parametrize(
    "column_type,advice",
    [
        (Numeric(10, 2), r"cast\(column, Double\)"),
        (Numeric(asdecimal=False), "precision"),
        (Float(24), "single precision"),
        (REAL, "single precision"),
        (Float(asdecimal=True), "decimals"),
        (Date, "text"),
        (Time, "text"),
        (JSON, "column of its own"),
        (Uuid, "cast"),
        (CHAR(3), "spaces"),
        (LargeBinary, "can't use"),
        (Enum(Status), "values_callable"),
        (Enum(Swapped), "values_callable"),
        (Upper, "type_coerce"),
        (None, "type_coerce"),
    ],
    ids=repr,
)
def test_types_that_are_not(column_type, advice):
    with pytest.raises(Misconfigured, match=advice):
        of_type(column_type)


@pytest.mark.parametrize(
    "attributes,options,reason",
    [
        ({"owner": "owner"}, {}, "no column"),
        ({"owner": 1}, {}, "no column"),
        ({"team": Expense.team}, {}, "no column"),
        ({"team": Team.name}, {}, "the model does not have"),
        ({"owner": aliased(Expense).owner}, {}, "the model does not have"),
        ({"owner": Expense.owner}, {"missing_when_null": ["ownr"]}, "ownr"),
        ({"owner": Expense.owner}, {"missing_when_null": "owner"}, "not one text"),
        ({"a": Expense.owner, "a.b": Expense.owner}, {}, "a part of"),
        ({"a..b": Expense.owner}, {}, "no name"),
        ({"": Expense.owner}, {}, "no name"),
        ({}, {"resource_id": Expense.id}, "text"),
    ],
)
def test_mappings_that_are_wrong(attributes, options, reason):
    with pytest.raises(Misconfigured, match=reason):
        Columns(Expense, attributes, **options)


def test_a_model_is_a_model():
    with pytest.raises(Misconfigured, match="no model"):
        Columns(object(), {})


@pytest.fixture(scope="module")
def session():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        team = Team(id=1, name="red")
        session.add_all([
            Expense(id=1, owner="amy", cents=250, data={"region": "emea"}, team=team),
            Travel(id=2, owner="bob", cents=None, data=None, to="Lyon"),
        ])  # fmt: skip
        session.commit()
        yield session


MAPPED = {
    "a hybrid": (Expense, Expense.amount, x("eq", attr("a"), v(2.5)), [1]),
    "a column property": (Expense, Expense.shout, x("eq", attr("a"), v("AMY")), [1]),
    "an expression": (Expense, Expense.owner + "!", x("endsWith", attr("a"), v("y!")), [1]),
    "a case": (Expense, case((Expense.cents > 100, "large"), else_="small"), x("eq", attr("a"), v("small")), [2]),
    "a condition": (Expense, Expense.cents > 100, attr("a"), [1]),
    "a member of JSON": (Expense, Expense.data["region"].as_string(), x("eq", attr("a"), v("emea")), [1]),
    "a scalar subquery": (
        Expense,
        select(Team.name).where(Team.id == Expense.team_id).correlate(Expense).scalar_subquery(),
        x("eq", attr("a"), v("red")),
        [1],
    ),
    "a constant": (Expense, literal("emea"), x("eq", attr("a"), v("emea")), [1, 2]),
    "a column of the parent": (Travel, Travel.owner, x("eq", attr("a"), v("bob")), [2]),
    "a column of the child": (Travel, Travel.to, x("eq", attr("a"), v("Lyon")), [2]),
}


@pytest.mark.parametrize("name", MAPPED)
def test_what_can_be_mapped(session, name):
    model, mapped, asked, expected = MAPPED[name]
    where = translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", asked)}, Columns(model, {"a": mapped}))
    assert session.scalars(select(model.id).where(where).order_by(model.id)).all() == expected


def test_ids_that_are_numbers_are_text(session):
    columns = Columns(Expense, {}, resource_id=cast(Expense.id, String))
    asked = x("eq", {"variable": "request.resource.id"}, v("2"))
    where = translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", asked)}, columns)
    assert session.scalars(select(Expense.id).where(where)).all() == [2]


def test_the_policy_version_is_what_checks_send(session):
    asked = x("eq", {"variable": "request.resource.policyVersion"}, v("2024"))
    for version, expected in (("2024", [1, 2]), ("default", [])):
        where = translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", asked)}, Columns(Expense, {}, policy_version=version))
        assert session.scalars(select(Expense.id).where(where).order_by(Expense.id)).all() == expected


def test_parts_of_an_object_are_mapped_by_their_path(session):
    columns = Columns(Expense, {"data.region": Expense.data["region"].as_string()}, missing_when_null=["data.region"])
    has = x("has", x("get-field", x("index", {"variable": "request.resource.attr"}, v("data")), {"variable": "region"}))
    for asked in (x("eq", attr("data.region"), v("emea")), has):
        where = translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", asked)}, columns)
        assert session.scalars(select(Expense.id).where(where)).all() == [1]


def test_dates_with_a_zone_are_instants():
    table = Table("t", MetaData(), Column("id", Integer), Column("at", DateTime(timezone=True)))
    where = translate(
        {"kind": "KIND_CONDITIONAL", "condition": x("holds", x("lt", x("timestamp", attr("at")), x("timestamp", v("2024-05-01T12:00:00+02:00"))))},
        Columns(table, {"at": table.c.at}),
    )
    (bound,) = where.compile(dialect=postgresql.dialect()).params.values()
    assert bound.isoformat() == "2024-05-01T10:00:00+00:00"
