"""The same on PostgreSQL: a server of its own, where its programs are installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table, create_engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

import hostile
from databases import TABLE
from edict_fastapi import Columns, translate
from test_property import compare
from trees import attr, v, x

FILTERS = 300
NOBODY = 65534


def programs():
    """The folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@pytest.fixture(scope="module")
def connection():
    pytest.importorskip("psycopg", reason="the tests on PostgreSQL need psycopg")
    bin = programs()
    if bin is None:
        pytest.skip("the tests on PostgreSQL need initdb and postgres")
    # It refuses to run as root, and its socket's path must be short.
    prefix = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv to be another user")
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with tempfile.TemporaryDirectory(prefix="edict-pg-") as folder:
        data = Path(folder, "data")
        data.mkdir(mode=0o700)
        if prefix:
            os.chown(data, NOBODY, NOBODY)
            os.chown(folder, NOBODY, NOBODY)
        # Its order of texts is not that of code points.
        subprocess.run(
            [*prefix, bin / "initdb", "-D", data, "-U", "edict", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        server = subprocess.Popen(
            [*prefix, bin / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-F", "-c", "log_min_messages=fatal"],
            cwd=folder,
        )
        try:
            engine = create_engine(f"postgresql+psycopg://edict@/postgres?host={folder}", poolclass=NullPool)
            with connected(engine, server) as connection:
                TABLE.metadata.create_all(connection)
                yield connection
        finally:
            server.send_signal(signal.SIGINT)  # do not wait for clients
            server.wait(60)


def connected(engine, server):
    late = time.monotonic() + 60
    while True:
        assert server.poll() is None, "postgres ended"
        try:
            return engine.connect()
        except OperationalError:
            assert time.monotonic() < late, "postgres does not listen"
            time.sleep(0.1)


def test_random_filters(connection):
    compare(connection, 2, FILTERS)


def test_texts_are_compared_by_code_points_whatever_the_collation(connection):
    assert connection.execute(text("select 'a' < 'B'")).scalar(), "this database orders texts as SQLite does"
    hostile.check_texts(connection)


def test_values_that_no_attribute_has_are_kept_out(connection):
    hostile.check_doubles(connection, ["'NaN'", "'Infinity'", "'-Infinity'"])
    hostile.check_times(connection, ["'infinity'", "'-infinity'", "'20000-01-01'", "'0044-03-15 BC'", "'294276-12-31'"])
    hostile.check_expressions_of_integers(connection)


def test_a_collation_that_takes_capitals_for_small_letters_changes_nothing(connection):
    connection.execute(text("create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"))
    table = Table("cased", MetaData(), Column("id", String(), primary_key=True), Column("owner", String(collation="any_case")))
    table.create(connection)
    connection.execute(table.insert(), [{"id": o, "owner": o} for o in ("amy", "AMY")])
    assert len(connection.execute(select(table).where(table.c.owner == "amy")).all()) == 2
    columns = Columns(table, {"owner": table.c.owner})
    for asked in (x("eq", attr("owner"), v("amy")), x("in", attr("owner"), v(["amy", "bob"])), x("contains", attr("owner"), v("my"))):
        where = translate({"kind": "KIND_CONDITIONAL", "condition": x("holds", asked)}, columns)
        assert connection.execute(select(table.c.id).where(where)).scalars().all() == ["amy"]
