"""RowFilter in applications: answers, mounted ones, threads, and a real server."""

import asyncio
import http.client
import json
import logging
import threading
import time

import pytest
import uvicorn
from fastapi import Depends, FastAPI
from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from edict_fastapi import Edict, RowFilter
from edictserver import fake_edict
from tokens import answer_to, ask, hash_of, scope, token, verifier
from trees import attr, v, x


class Base(DeclarativeBase):
    pass


class Expense(Base):
    __tablename__ = "expense"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    owner: Mapped[str] = mapped_column(String)


ENGINE = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
Base.metadata.create_all(ENGINE)
with Session(ENGINE) as session:
    session.add_all([Expense(id="1", owner="alice"), Expense(id="2", owner="bob")])
    session.commit()

OWN = {"kind": "KIND_CONDITIONAL", "condition": x("holds", x("eq", attr("owner"), v("alice")))}


def ids(where):
    with Session(ENGINE) as session:
        return session.scalars(select(Expense.id).where(where).order_by(Expense.id)).all()


def application(judge=None):
    app = FastAPI()
    rows = RowFilter(Expense, {"owner": Expense.owner}, kind="expense", verifier=judge or verifier())
    ids_too = RowFilter(Expense, {"owner": Expense.owner}, kind="expense", verifier=rows.verifier)
    others = RowFilter(Expense, {"owner": Expense.owner}, kind="report", verifier=rows.verifier)

    @app.get("/expenses")
    def listed(where=Depends(rows)):
        return ids(where)

    @app.get("/async")
    async def listed_async(where=Depends(rows)):
        return ids(where)

    @app.get("/twice")
    def twice(first=Depends(rows), second=Depends(ids_too)):
        return [ids(first), ids(second)]

    @app.get("/mixed")
    def mixed(where=Depends(rows), reports=Depends(others)):
        return [ids(where), ids(reports)]

    return app


def test_a_route_returns_the_rows_of_the_filter():
    app = application()
    assert ask(app, scope(token(flt=OWN)))[2] == b'["1"]'
    assert ask(app, scope(token()))[2] == b'["1","2"]'
    assert ask(app, scope(token(flt=OWN, pth="/async"), path="/async"))[2] == b'["1"]'
    assert ask(app, scope(token(flt=OWN, pth="/twice"), path="/twice"))[2] == b'[["1"],["1"]]'


def test_a_filter_is_of_no_use_to_rows_of_another_kind():
    app = application()
    assert ask(app, scope(token(flt=OWN, pth="/mixed"), path="/mixed"))[0] == 500
    with pytest.raises(TypeError, match="kind"):
        RowFilter(Expense, {"owner": Expense.owner}, verifier=verifier())


BROKEN = {"kind": "KIND_CONDITIONAL", "condition": x("holds", x("eq", attr("salary"), v(1)))}


@pytest.mark.parametrize(
    "made,status,logged",
    [
        (None, 403, "0 headers for the filter"),
        (token(sub="bob"), 403, "another principal"),
        (token(flt=BROKEN), 500, "salary"),
        (token(flt={"kind": "KIND_ALWAYS_DENIED"}), 500, "unknown kind"),
        (token(knd="report"), 500, "the route's filter is for report"),
    ],
)
def test_the_answer_tells_nothing_and_the_log_all(made, status, logged, caplog):
    with caplog.at_level(logging.WARNING, "edict_fastapi"):
        got, headers, body = ask(application(), scope(made))
    assert (got, headers["content-type"]) == (status, "application/problem+json")
    detail = "This request is not authorized." if status == 403 else "This request can't be answered."
    assert json.loads(body) == {"detail": detail}
    assert logged in caplog.text


def test_a_mounted_application_judges_the_whole_path():
    app = FastAPI()
    app.mount("/money", application())
    whole = scope(token(pth="/money/expenses"), path="/money/expenses")
    assert ask(app, whole)[0] == 200
    assert ask(app, scope(token(pth="/expenses"), path="/money/expenses"))[0] == 403


def test_a_root_path_alone_changes_nothing():
    assert ask(application(), scope(token()) | {"root_path": "/api"})[0] == 200


def test_a_root_path_that_the_server_puts_in_front_is_the_prefix():
    behind = scope(token(), path="/api/expenses") | {"root_path": "/api"}  # as uvicorn --root-path /api tells it
    assert ask(application(verifier(prefix="/api")), behind)[0] == 200
    assert ask(application(), behind)[0] == 403


def test_requests_without_a_filter_use_no_token_up():
    app = application()
    made = token()
    assert ask(app, scope(made, method="POST"))[0] == 405
    assert ask(app, scope(made))[0] == 200
    assert ask(app, scope(made))[0] == 403


def test_a_slow_edict_holds_nobody_else_up():
    async def asked(times):
        while len(edict.asked) < times:
            await asyncio.sleep(0.01)

    async def run():
        slow = asyncio.create_task(answer_to(app, scope(token(flt=None, hdl="A" * 43, pth="/async"), path="/async")))
        await asyncio.wait_for(asked(2), 60)  # for the keys, before, and for the filter, now
        quick = await answer_to(app, scope(token(flt=OWN)))
        assert not slow.done()
        edict.wait.set()
        return quick, await slow

    with fake_edict() as edict:
        edict.filters["A" * 43] = OWN
        app = application(verifier(edict=Edict(edict.url, timeout=60)))
        assert ask(app, scope(token()))[0] == 200
        edict.wait.clear()
        quick, slow = asyncio.run(run())
    assert (quick[0], quick[2]) == (slow[0], slow[2]) == (200, b'["1"]')


@pytest.fixture(scope="module")
def served():
    """The port of uvicorn with the application."""
    server = uvicorn.Server(uvicorn.Config(application(verifier(check_host=False)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    "target,made,status",
    [
        ("/expenses", {}, 200),
        ("/expenses?a=%2F&b", {"qsh": hash_of("a=%2F&b")}, 200),
        ("/expenses?a=/&b", {"qsh": hash_of("a=%2F&b")}, 403),
        ("/expenses?", {}, 200),
        ("/%65xpenses", {"pth": "/%65xpenses"}, 200),
        ("/%65xpenses", {"pth": "/expenses"}, 403),
        ("/expenses", {"pth": "/%65xpenses"}, 403),
    ],
)
def test_a_real_server_tells_what_edict_judged(served, target, made, status):
    connection = http.client.HTTPConnection("127.0.0.1", served, timeout=10)
    connection.request("GET", target, headers={"x-edict-principal": "alice", "x-edict-filter": token(**made)})
    response = connection.getresponse()
    assert response.status == status, response.read()
    connection.close()
