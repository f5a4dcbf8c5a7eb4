"""The expenses service as it is, with a journal beside it.

The file that JOURNAL names gets one JSON object a line, before the answer leaves:
every request as the service received it, and every operation with the address that
it was about, before it runs; of a list every row that it shows. The tests judge by it what really happened.
"""

import json
import os

from app import main
from app.store import Store

journal = open(os.environ["JOURNAL"], "a", buffering=1, encoding="ascii")


def note(kind: str, **entry) -> None:
    journal.write(json.dumps({kind: entry}) + "\n")


def note_row(operation: str, principal: str, row: dict) -> None:
    note(
        "operation", name=operation, principal=principal, region=row["region"] or "", owner=row["ownerId"],
        number=row["id"], cents=round((row["amount"] or 0) * 100), status=row["status"], created=row["createdAt"] or "",
    )


class NotedStore(Store):
    def record(self, operation, principal):
        note("operation", name=operation, principal=principal)
        super().record(operation, principal)

    def list_rows(self, principal, visible, region, owner):
        # Which rows these are is known afterwards only. Each is noted, and what is told of it.
        rows = super().list_rows(principal, visible, region, owner)
        for row in rows:
            note_row("list", principal, row)
        return rows

    def total(self, principal, region, owner):
        note("operation", name="total", principal=principal, region=region, owner=owner or "")
        return super().total(principal, region, owner)

    def read(self, principal, region, owner, number):
        note("operation", name="read", principal=principal, region=region, owner=owner, number=number)
        return super().read(principal, region, owner, number)

    def view(self, principal, expense):
        note_row("view", principal, expense)
        return super().view(principal, expense)

    def create(self, principal, region, department, cents, description):
        note("operation", name="create", principal=principal, region=region, owner=principal, cents=cents)
        return super().create(principal, region, department, cents, description)

    def approve(self, principal, region, owner, number, cents):
        note("operation", name="approve", principal=principal, region=region, owner=owner, number=number, cents=cents)
        return super().approve(principal, region, owner, number, cents)

    def delete(self, principal, region, owner, number):
        note("operation", name="delete", principal=principal, region=region, owner=owner, number=number)
        super().delete(principal, region, owner, number)


def app():
    """What uvicorn starts (--factory)."""
    main.Store = NotedStore
    service = main.app()

    async def noted(scope, receive, send):
        if scope["type"] == "http":
            note(
                "request",
                method=scope["method"],
                path=scope["raw_path"].decode("latin-1"),
                query=scope["query_string"].decode("latin-1"),
                headers=[[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            )
        await service(scope, receive, send)

    return noted
