"""Expenses in SQLite, and a journal of every operation that reached them."""

import sqlite3
from datetime import datetime, timezone

SCHEMA = """
CREATE TABLE IF NOT EXISTS expenses (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    ownerId     TEXT NOT NULL,
    department  TEXT NOT NULL,
    region      TEXT NOT NULL,
    cents       INTEGER NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('submitted', 'approved')),
    description TEXT NOT NULL,
    createdAt   TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS operations (
    operation TEXT NOT NULL,
    principal TEXT NOT NULL,
    at        TEXT NOT NULL
);
"""

# What a new database holds, numbered from 1 in this order. demo.py and the route
# map's tests name these rows.
SEED = [
    ("alice", "engineering", "emea", 420_00, "Train to Lyon"),
    ("alice", "engineering", "emea", 2600_00, "Workstation"),
    ("bob", "engineering", "emea", 80_00, "Team lunch"),
    ("alice", "engineering", "emea", 38_50, "Taxi, handed in twice"),
    ("alice", "engineering", "emea", 12_90, "Coffee, handed in twice"),
    ("erin", "sales", "apac", 95_00, "Visa"),
    ("dave", "sales", "apac", 310_00, "Hotel in Osaka"),
]


class NotFound(Exception):
    """No expense has this region, owner and number together."""


class AmountDiffers(Exception):
    """The expense's amount is not the one that was approved."""


class NotSubmitted(Exception):
    """The expense is not waiting for approval."""


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Store:
    """The database. Not for use by several threads at once."""

    def __init__(self, path: str):
        self.db = sqlite3.connect(path)
        self.db.row_factory = sqlite3.Row
        self.db.executescript(SCHEMA)
        with self.db:
            if self.db.execute("SELECT count(*) FROM expenses").fetchone()[0] == 0:
                self.db.executemany(
                    "INSERT INTO expenses (ownerId, department, region, cents, status, description, createdAt)"
                    " VALUES (?, ?, ?, ?, 'submitted', ?, ?)",
                    [(*row, now()) for row in SEED],
                )

    def close(self) -> None:
        self.db.close()

    def record(self, operation: str, principal: str) -> None:
        with self.db:
            self._record(operation, principal)

    def list_region(self, principal: str, region: str, owner: str | None) -> list[dict]:
        with self.db:
            self._record("list", principal)
            rows = self.db.execute(
                "SELECT * FROM expenses WHERE region = ? AND (? IS NULL OR ownerId = ?) ORDER BY id",
                (region, owner, owner),
            )
            return [expense(row) for row in rows]

    def read(self, principal: str, region: str, owner: str, number: int) -> dict:
        with self.db:
            row = self._find(region, owner, number)
            self._record("read", principal)
            return expense(row)

    def create(self, principal: str, region: str, department: str, cents: int, description: str) -> dict:
        with self.db:
            made = self.db.execute(
                "INSERT INTO expenses (ownerId, department, region, cents, status, description, createdAt)"
                " VALUES (?, ?, ?, ?, 'submitted', ?, ?)",
                (principal, department, region, cents, description, now()),
            )
            self._record("create", principal)
            return expense(self._find(region, principal, made.lastrowid))

    def approve(self, principal: str, region: str, owner: str, number: int, cents: int) -> dict:
        with self.db:
            row = self._find(region, owner, number)
            if row["cents"] != cents:
                raise AmountDiffers
            if row["status"] != "submitted":
                raise NotSubmitted
            self.db.execute("UPDATE expenses SET status = 'approved' WHERE id = ?", (number,))
            self._record("approve", principal)
            return expense(self._find(region, owner, number))

    def delete(self, principal: str, region: str, owner: str, number: int) -> None:
        with self.db:
            self._find(region, owner, number)
            self.db.execute("DELETE FROM expenses WHERE id = ?", (number,))
            self._record("delete", principal)

    def _find(self, region: str, owner: str, number: int) -> sqlite3.Row:
        row = self.db.execute(
            "SELECT * FROM expenses WHERE id = ? AND region = ? AND ownerId = ?", (number, region, owner)
        ).fetchone()
        if row is None:
            raise NotFound
        return row

    def _record(self, operation: str, principal: str) -> None:
        self.db.execute("INSERT INTO operations VALUES (?, ?, ?)", (operation, principal, now()))


def expense(row: sqlite3.Row) -> dict:
    return {
        "id": row["id"],
        "ownerId": row["ownerId"],
        "department": row["department"],
        "region": row["region"],
        "amount": row["cents"] / 100,
        "status": row["status"],
        "description": row["description"],
        "createdAt": row["createdAt"],
    }
