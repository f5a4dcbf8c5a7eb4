"""Expenses in a database, and a journal of every operation that reached them."""

from datetime import datetime, timedelta, timezone

from sqlalchemy import CheckConstraint, ColumnElement, DateTime, Double, String, cast, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool


class Base(DeclarativeBase):
    pass


class Expense(Base):
    """One expense. NULL is what nobody knows: a draft has no amount as yet, and what
    came from the old books has no region, or no day."""

    __tablename__ = "expenses"
    __table_args__ = (CheckConstraint("status IN ('draft', 'submitted', 'approved')"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String)
    department: Mapped[str] = mapped_column(String)
    region: Mapped[str | None] = mapped_column(String)
    cents: Mapped[int | None]
    status: Mapped[str] = mapped_column(String)
    description: Mapped[str] = mapped_column(String)
    createdAt: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    def as_json(self) -> dict:
        return {
            "id": self.id,
            "ownerId": self.owner,
            "department": self.department,
            "region": self.region,
            "amount": None if self.cents is None else self.cents / 100,
            "status": self.status,
            "description": self.description,
            "createdAt": None if self.createdAt is None else utc(self.createdAt).isoformat(timespec="seconds"),
        }


# What policies see of a row, by the names that as_json has for it; NULL is null.
ATTRIBUTES = {
    "ownerId": Expense.owner,
    "region": Expense.region,
    "amount": cast(Expense.cents, Double) / 100,
    "status": Expense.status,
    "createdAt": Expense.createdAt,
}
NUMBER = cast(Expense.id, String)  # the resource's id


class Operation(Base):
    """One line of the journal."""

    __tablename__ = "operations"

    id: Mapped[int] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(String)
    principal: Mapped[str] = mapped_column(String)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


# What a new database holds, numbered from 1 in this order: owner, department, region,
# cents, status, description, and how many days ago it was made. demo.py and the route
# map's tests name these rows.
SEED = [
    ("alice", "engineering", "emea", 420_00, "submitted", "Train to Lyon", 0),
    ("alice", "engineering", "emea", 2600_00, "submitted", "Workstation", 0),
    ("bob", "engineering", "emea", 80_00, "submitted", "Team lunch", 0),
    ("alice", "engineering", "emea", 38_50, "submitted", "Taxi, handed in twice", 0),
    ("alice", "engineering", "emea", 12_90, "submitted", "Coffee, handed in twice", 0),
    ("erin", "sales", "apac", 95_00, "submitted", "Visa", 0),
    ("dave", "sales", "apac", 310_00, "submitted", "Hotel in Osaka", 0),
    ("alice", "engineering", "emea", None, "draft", "Conference, to be filled in", 0),
    ("dave", "sales", "apac", 12_00, "submitted", "Parking, forgotten", 120),
    ("erin", "sales", None, 51_00, "approved", "From the old books", None),
]


class NotFound(Exception):
    """No expense is what was asked for."""


class AmountDiffers(Exception):
    """The expense's amount is not the one that was approved."""


class NotSubmitted(Exception):
    """The expense is not waiting for approval."""


def now() -> datetime:
    """This second. Rows keep no parts of one, since as_json tells none: a filter over
    rows and a question about one must see the same time."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def utc(time: datetime) -> datetime:
    """The time with its zone, which SQLite does not keep."""
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


class Store:
    """The database: a file of SQLite, or what else SQLAlchemy has an address for. Not
    for use by several threads at once."""

    def __init__(self, database: str):
        if "://" in database:
            self.engine = create_engine(database)
        else:
            # The one connection that there is, so that ":memory:" is one database.
            self.engine = create_engine(f"sqlite:///{database}", poolclass=StaticPool)
        # A session, committed at the end of a with block unless that fails.
        self.transaction = sessionmaker(self.engine).begin
        Base.metadata.create_all(self.engine)
        with self.transaction() as session:
            if session.scalar(select(func.count()).select_from(Expense)) == 0:
                for owner, department, region, cents, status, description, days in SEED:
                    created = None if days is None else now() - timedelta(days=days)
                    session.add(Expense(
                        owner=owner, department=department, region=region, cents=cents, status=status,
                        description=description, createdAt=created,
                    ))
                    session.flush()  # one by one, so that they are numbered in this order

    def close(self) -> None:
        self.engine.dispose()

    def record(self, operation: str, principal: str) -> None:
        with self.transaction() as session:
            note(session, operation, principal)

    def list_rows(
        self, principal: str, visible: ColumnElement[bool], region: str | None, owner: str | None
    ) -> list[dict]:
        """The visible rows, of a region and an owner if they are named."""
        with self.transaction() as session:
            note(session, "list", principal)
            wanted = select(Expense).where(visible).order_by(Expense.id)
            if region is not None:
                wanted = wanted.where(Expense.region == region)
            if owner is not None:
                wanted = wanted.where(Expense.owner == owner)
            return [expense.as_json() for expense in session.scalars(wanted)]

    def total(self, principal: str, region: str, owner: str | None) -> dict:
        """How many expenses a region, or an owner in it, has, and what they come to."""
        with self.transaction() as session:
            note(session, "total", principal)
            wanted = select(func.count(), func.coalesce(func.sum(Expense.cents), 0)).where(Expense.region == region)
            if owner is not None:
                wanted = wanted.where(Expense.owner == owner)
            count, cents = session.execute(wanted).one()
            return {"region": region, "ownerId": owner, "expenses": count, "amount": cents / 100}

    def find(self, number: int) -> dict:
        """The expense of this number, for a decision about it. Nothing is recorded:
        whether anybody sees it is not known yet."""
        with self.transaction() as session:
            if (expense := session.get(Expense, number)) is None:
                raise NotFound
            return expense.as_json()

    def view(self, principal: str, expense: dict) -> dict:
        """What the principal may see of an expense that was found: all of it."""
        with self.transaction() as session:
            note(session, "view", principal)
        return expense

    def read(self, principal: str, region: str, owner: str, number: int) -> dict:
        with self.transaction() as session:
            expense = find(session, region, owner, number)
            note(session, "read", principal)
            return expense.as_json()

    def create(self, principal: str, region: str, department: str, cents: int, description: str) -> dict:
        with self.transaction() as session:
            expense = Expense(
                owner=principal, department=department, region=region, cents=cents, status="submitted",
                description=description, createdAt=now(),
            )
            session.add(expense)
            session.flush()  # gives it its number
            note(session, "create", principal)
            return expense.as_json()

    def approve(self, principal: str, region: str, owner: str, number: int, cents: int) -> dict:
        with self.transaction() as session:
            expense = find(session, region, owner, number)
            if expense.cents != cents:
                raise AmountDiffers
            if expense.status != "submitted":
                raise NotSubmitted
            expense.status = "approved"
            note(session, "approve", principal)
            return expense.as_json()

    def delete(self, principal: str, region: str, owner: str, number: int) -> None:
        with self.transaction() as session:
            session.delete(find(session, region, owner, number))
            note(session, "delete", principal)


def find(session: Session, region: str, owner: str, number: int) -> Expense:
    expense = session.scalar(
        select(Expense).where(Expense.id == number, Expense.region == region, Expense.owner == owner)
    )
    if expense is None:
        raise NotFound
    return expense


def note(session: Session, operation: str, principal: str) -> None:
    session.add(Operation(operation=operation, principal=principal, at=now()))
