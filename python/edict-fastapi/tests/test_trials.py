"""Row filters of random policies return the rows that a check allows one by one.

Edict itself makes the trials: it plans random requests by random policies, and asks
Check about every row of a random table. The filters are translated here and run on
SQLite. Read of the rows that come back: none too many, none too few.
"""

import collections
import json
import os
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, MetaData, String, Table, create_engine, select

from edict_fastapi import Columns, Untranslatable, translate

ROOT = Path(__file__).resolve().parents[3]
TRIALS = int(os.environ.get("EDICT_TRIALS", "10000"))
SEED = int(os.environ.get("EDICT_SEED", "1"))

TYPES = {"string": String, "int": BigInteger, "double": Double, "bool": Boolean, "timestamp": DateTime}


def trials():
    """The lines of the generator, one for each table."""
    if shutil.which("go") is None:
        pytest.skip("the trials of row filters are made by Edict, which needs go")
    command = ["go", "run", "./engine/internal/rowtrials", "-n", str(TRIALS), "-seed", str(SEED)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as generator:
        yield from map(json.loads, generator.stdout)
    assert generator.returncode == 0


def stored(kind, value):
    if kind == "timestamp" and value is not None:
        moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ" if "." in value else "%Y-%m-%dT%H:%M:%SZ")
        return moment.replace(tzinfo=timezone.utc).replace(tzinfo=None)
    return value


def test_filters_return_what_checks_allow():
    count, refused = collections.Counter(), collections.Counter()
    engine = create_engine("sqlite://")
    for line in trials():
        columns = line["columns"]
        metadata = MetaData()
        table = Table(
            "rows",
            metadata,
            Column("id", String, primary_key=True),
            *(Column(name, TYPES[c["type"]], nullable=c["nullable"]) for name, c in columns.items()),
        )
        mapping = Columns(
            table,
            {name: table.c[name] for name in columns} | {"nowhere": None},
            missing_when_null=[name for name, c in columns.items() if c["nullMeans"] == "missing"],
            resource_id=table.c.id,
        )
        with engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(
                table.insert(),
                [{n: stored(columns[n]["type"], v) if n != "id" else v for n, v in row.items()} for row in line["rows"]],
            )
            for trial in line["trials"]:
                count["trials"] += 1
                try:
                    where = translate(trial["filter"], mapping)
                except Untranslatable as e:
                    assert not trial.get("plain"), f"{e}: {trial}"
                    refused[str(e)] += 1
                    continue
                got = set(connection.execute(select(table.c.id).where(where)).scalars())
                allowed = {line["rows"][i]["id"] for i in trial["allowed"]}
                assert got == allowed, (
                    f"too many: {sorted(got - allowed)}, too few: {sorted(allowed - got)}\n{json.dumps(trial)}\n{line['rows']}"
                )
                count["run"] += 1
                count["rows"] += len(line["rows"])
                count["allowed"] += len(allowed)
            metadata.drop_all(connection)
    print(f"\n{dict(count)}, refused: {dict(refused)}")
    assert count["trials"] >= TRIALS
    # The trials are of use only if most are run, on filters that tell rows apart.
    assert count["run"] >= 0.8 * TRIALS
    assert 0.05 * count["rows"] < count["allowed"] < 0.95 * count["rows"]
