"""The expenses service: list, total, read, create, approve and delete.

No rule stands here. Envoy lets a request through only if Edict allowed it, and Edict
puts the verified caller into the header x-edict-principal. What is left to the backend
is to keep the words that Edict judged by:

- The address of an expense names its region, owner and number, and a row is found
  by all three. A wrong region or owner is "not found", never another's row.
- The owner of a new expense is the verified caller, never a field of the body.
- An approval states the amount that the approver saw. If the row says another,
  the answer is 409: what was judged is not what would be approved.

Of GET /expense/{number} the proxy sees a number and no row. It judges who may open
expenses at all; whether this one may be viewed, the handler asks Edict by the Cerbos
SDK, with the attributes of the row. No answer is no permission: that is 503.

Of GET /expenses the proxy sees no row either. It sends along which rows the caller may
open and view, signed, and edict_fastapi makes that a condition of the query. So the list
holds the rows that GET /expense/{number} would show, and no more.

A request without x-edict-principal did not come through Envoy and gets 401.

What each operation is about stands beside it, under x-edict in the OpenAPI document.
envoy/routes/expenses.yaml is made from that, by `make routes`.
"""

import os
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated
from urllib.parse import quote, unquote

import httpx
from cerbos.sdk.client import AsyncCerbosClient
from cerbos.sdk.model import Principal, Resource
from edict_fastapi import FilterVerifier, RowFilter
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement

from .store import ATTRIBUTES, NUMBER, AmountDiffers, Expense, NotFound, NotSubmitted, Store

PRINCIPAL = b"x-edict-principal"

# Paths that may be read without an identity.
ANONYMOUS = {"/healthz"}

Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Number = Annotated[str, Path(pattern=r"^[1-9][0-9]{0,17}$")]


# ---- What Edict is to judge ---------------------------------------------------------
# Under x-edict an operation says what it is about, in the words of a route map: plain
# values are constants, {"expr": …} is CEL over the request. Nothing here decides.


def expr(expression: str) -> dict:
    return {"expr": expression}


def edict(**route) -> dict:
    return {"x-edict": route}


# For the route map as a whole.
ROUTE_MAP = {
    "name": "expenses",
    "hosts": ["*"],
    # The connection's own peer, as Envoy saw it; X-Forwarded-For is not asked.
    "principal": {"attributes": {"clientIp": expr("request.source.address")}},
}

# The address of an expense names its region and owner, so that both can be judged
# before this service is asked.
EXPENSE = {
    "kind": "expense",
    "attributes": {"ownerId": expr("path.owner"), "region": expr("path.region")},
}


def expense_with(**attributes) -> dict:
    return EXPENSE | {"attributes": EXPENSE["attributes"] | attributes}


class Strict(BaseModel):
    """A body of exactly these fields and types: no text for a number, no extras."""

    model_config = ConfigDict(strict=True, extra="forbid")


# A positive amount of money in whole cents.
Amount = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]


class NewExpense(Strict):
    region: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    department: Annotated[str, Field(min_length=1, max_length=64)]
    amount: Amount
    description: Annotated[str, Field(max_length=500)] = ""


class Approval(Strict):
    amount: Amount


def cents(amount: float) -> int:
    """The amount in cents; 422 if it has parts of one."""
    # The shortest text of a float is what the client wrote: 64.2, not 64.2000000000000028.
    exact = Decimal(repr(amount)) * 100
    if exact != exact.to_integral_value():
        raise HTTPException(422, "the amount has parts of a cent")
    return int(exact)


class PrincipalRequired:
    """Answers 401 to requests that name no principal, or more than one.

    It stands before routing, so that it holds for every path, those that do not
    exist included.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] not in ANONYMOUS:
            named = [value for name, value in scope["headers"] if name == PRINCIPAL]
            if len(named) != 1 or not named[0].strip():
                refusal = JSONResponse({"detail": "no verified principal: come through Envoy"}, 401)
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def principal(request: Request) -> str:
    """The id of the caller, which Edict percent-encodes where it has more than plain letters."""
    return unquote(request.headers[PRINCIPAL.decode()])


def caller(request: Request) -> Principal:
    """The verified caller, as Edict told of them, for questions of our own."""

    def words(header: str) -> list[str]:
        return [unquote(word) for word in request.headers.get(header, "").split(",") if word]

    # A claim that is not there is none here either, so that both halves judge alike.
    attr = {"regions": words("x-edict-regions")} if "x-edict-regions" in request.headers else {}
    return Principal(principal(request), roles=set(words("x-edict-roles")), attr=attr)


def resource(expense: dict) -> Resource:
    """An expense, as the policies speak of it."""
    return Resource(str(expense["id"]), "expense", {name: expense[name] for name in ATTRIBUTES})


def create_app(database: str, pdp: str = "http://127.0.0.1:3592") -> FastAPI:
    """The service over the SQLite file at database, made and seeded if it is new.

    ":memory:" keeps everything in memory, for one process. pdp is where Edict's API
    listens: it answers the Cerbos SDK, and has the keys of row filters.
    """
    rows = RowFilter(
        Expense, ATTRIBUTES, resource_id=NUMBER, kind="expense", verifier=FilterVerifier(keys_url=pdp)
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        app.state.store = Store(database)
        async with AsyncCerbosClient(pdp) as app.state.cerbos:
            yield
        app.state.store.close()

    app = FastAPI(
        title="Expenses",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # "/expenses/" is not "/expenses": Edict judged the one address, and a
        # redirect would send the client to another.
        redirect_slashes=False,
    )
    app.add_middleware(PrincipalRequired)
    document = app.openapi
    app.openapi = lambda: document() | edict(**ROUTE_MAP)

    def store(request: Request) -> Store:
        return request.app.state.store

    # Handlers are coroutines on the event loop's thread, and none waits within a
    # transaction; so one SQLite connection serves them all.

    @app.get(
        "/expenses",
        openapi_extra=edict(
            description="Planned: the service is told which rows the caller may open and view.",
            plan=True,
            resource={"kind": "expense"},
            actions=["open", "view"],
        ),
    )
    async def list_expenses(
        request: Request,
        where: Annotated[ColumnElement[bool], Depends(rows)],
        region: str | None = None,
        owner: str | None = None,
    ) -> list[dict]:
        # What the client asks for narrows the list, and can't widen it.
        return store(request).list_rows(principal(request), where, region, owner)

    @app.get(
        "/totals",
        openapi_extra=edict(
            description="What a region, or somebody in it, has spent. No row tells that, so the query is judged.",
            action="total",
            resource={
                "kind": "expense",
                "id": expr("request.query.region"),
                "attributes": {
                    "region": expr("request.query.region"),
                    "ownerId": expr('has(request.query.owner) ? request.query.owner : ""'),
                },
            },
        ),
    )
    async def total_expenses(
        request: Request,
        region: Annotated[list[str], Query(min_length=1, max_length=1)],
        owner: Annotated[list[str] | None, Query(max_length=1)] = None,
    ) -> dict:
        return store(request).total(principal(request), region[0], owner[0] if owner else None)

    @app.post(
        "/expenses",
        status_code=201,
        openapi_extra=edict(
            description="The owner of a new expense is whoever the token names. Region and amount are the body's.",
            resource={
                "kind": "expense",
                "attributes": {
                    "ownerId": expr("principal.id"),
                    "region": expr("request.body.region"),
                    "amount": expr("request.body.amount"),
                },
            },
        ),
    )
    async def create_expense(request: Request, response: Response, new: NewExpense) -> dict:
        who = principal(request)
        expense = store(request).create(who, new.region, new.department, cents(new.amount), new.description)
        response.headers["location"] = f"/expenses/{expense['region']}/{quote(who, safe='')}/{expense['id']}"
        return expense

    @app.get("/expenses/{region}/{owner}/{number}", openapi_extra=edict(resource=EXPENSE))
    async def read_expense(request: Request, region: Name, owner: Name, number: Number) -> dict:
        return store(request).read(principal(request), region, owner, int(number))

    @app.get(
        "/expense/{number}",
        openapi_extra=edict(
            description="Who may open expenses at all. Which, the service asks by the row.",
            resource={"kind": "expense", "id": expr("path.number")},
            action="open",
            onAllow={"headers": {"x-edict-regions": expr("claims.?regions")}},
        ),
    )
    async def view_expense(request: Request, response: Response, number: Number) -> dict:
        expense = store(request).find(int(number))
        if not await request.app.state.cerbos.is_allowed("view", caller(request), resource(expense)):
            raise HTTPException(403, "not this expense", {"x-expenses-view": "deny"})
        response.headers["x-expenses-view"] = "allow"  # for the demo's table
        return store(request).view(principal(request), expense)

    @app.post(
        "/expenses/{region}/{owner}/{number}/approve",
        openapi_extra=edict(
            description="The policy judges the amount that the approver saw; 409 if the row has another.",
            resource=expense_with(amount=expr("request.body.amount")),
        ),
    )
    async def approve_expense(request: Request, region: Name, owner: Name, number: Number, approval: Approval) -> dict:
        return store(request).approve(principal(request), region, owner, int(number), cents(approval.amount))

    @app.delete("/expenses/{region}/{owner}/{number}", status_code=204, openapi_extra=edict(resource=EXPENSE))
    async def delete_expense(request: Request, region: Name, owner: Name, number: Number) -> None:
        store(request).delete(principal(request), region, owner, int(number))

    @app.get("/whoami", openapi_extra=edict(resource={"kind": "service", "id": "expenses"}, action="whoami"))
    async def whoami(request: Request) -> dict[str, list[str]]:
        """The identity headers that arrived, each with all its values."""
        store(request).record("whoami", principal(request))
        seen: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            if "edict" in name or name in ("authorization", "cookie") or name.startswith("x-"):
                seen.setdefault(name, []).append(value)
        return seen

    @app.get(
        "/healthz",
        openapi_extra=edict(
            name="health",
            description='No identity needed: the principal is "anonymous" with the role "anonymous".',
            anonymous=True,
            resource={"kind": "service", "id": "expenses"},
            action="health",
        ),
    )
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError):
        # What was wrong and where, without the input: it may be NaN, which JSON cannot say.
        return JSONResponse({"detail": [{"at": e["loc"], "error": e["msg"]} for e in error.errors()]}, 422)

    @app.exception_handler(httpx.HTTPError)
    async def undecided(request: Request, error: httpx.HTTPError):
        return JSONResponse({"detail": "nobody can say whether this is allowed"}, 503)

    @app.exception_handler(NotFound)
    async def not_found(request: Request, error: NotFound):
        return JSONResponse({"detail": "no such expense"}, 404)

    @app.exception_handler(AmountDiffers)
    async def amount_differs(request: Request, error: AmountDiffers):
        return JSONResponse({"detail": "the expense has another amount than the one approved"}, 409)

    @app.exception_handler(NotSubmitted)
    async def not_submitted(request: Request, error: NotSubmitted):
        return JSONResponse({"detail": "the expense is approved already"}, 409)

    return app


def app() -> FastAPI:
    """What uvicorn starts (--factory); EXPENSES_DB names the database file, CERBOS_HOST
    where Edict's API listens."""
    return create_app(
        os.environ.get("EXPENSES_DB", ".demo/expenses.db"), os.environ.get("CERBOS_HOST", "http://127.0.0.1:3592")
    )
