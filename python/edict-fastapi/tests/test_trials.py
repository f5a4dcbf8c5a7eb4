"""Row filters of random policies select the rows that a check allows one by one.

Edict itself makes the trials: it plans random requests by random policies, and asks Check
about every row of a random table. The filters are translated here and run on SQLite. Of
the rows that come back none may be too many, and none too few.
"""

import collections
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table, create_engine, select

from databases import TYPES, moment
from edict_fastapi import Columns, Untranslatable, translate

ROOT = Path(__file__).resolve().parents[3]
TRIALS = int(os.environ.get("EDICT_TRIALS", "10000"))
SEED = int(os.environ.get("EDICT_SEED", "1"))
PROCESSES = 2

ATTRIBUTE = re.compile(r'"request\.resource\.attr\.([^".]+)')

# All that is plain to whoever plans can be translated, but for numbers that are so large
# that doubles end.
BEYOND = "a calculation that could leave the range of doubles"


def trials(seed, count):
    """The lines of the generator, one for each table."""
    command = [os.environ.get("EDICT_ROWTRIALS") or "bin/rowtrials", "-n", str(count), "-seed", str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as generator:
        yield from map(json.loads, generator.stdout)
    assert generator.returncode == 0


def run(seed, count):
    """Runs trials; what there was of them, and the first that went wrong."""
    counts, refused = collections.Counter(), collections.Counter()
    for line in trials(seed, count):
        with create_engine("sqlite://").begin() as connection:
            table, columns = make(line, connection)
            for trial in line["trials"]:
                counts["trials"] += 1
                try:
                    where = translate(trial["filter"], columns)
                except Untranslatable as e:
                    counts["refused"] += 1
                    refused[str(e)] += 1
                    if trial.get("plain") and str(e) != BEYOND:
                        return counts, refused, f"refused: {e}\n{json.dumps(trial)}"
                    continue
                got = set(connection.execution_options(compiled_cache=None).execute(select(table.c.id).where(where)).scalars())
                allowed = {line["rows"][i]["id"] for i in trial["allowed"]}
                if got != allowed:
                    wrong = [row for row in line["rows"] if row["id"] in got ^ allowed]
                    what = f"too many: {sorted(got - allowed)}, too few: {sorted(allowed - got)}"
                    return counts, refused, f"{what}\n{json.dumps(trial)}\n{wrong}"
                counts["rows"] += len(line["rows"])
                counts["allowed"] += len(allowed)
    return counts, refused, None


def make(line, connection):
    columns = line["columns"]
    table = Table(
        "rows",
        MetaData(),
        Column("id", String, primary_key=True),
        *(Column(name, TYPES[c["type"]], nullable=c["nullable"]) for name, c in columns.items()),
    )
    table.create(connection)
    dates = [name for name, c in columns.items() if c["type"] == "timestamp"]
    rows = [row | {name: moment(row[name]) for name in dates} for row in line["rows"]]
    connection.execute(table.insert(), rows)
    # What the policies speak of and the table does not have, no row has.
    nowhere = dict.fromkeys(ATTRIBUTE.findall(json.dumps(line["trials"])))
    return table, Columns(
        table,
        nowhere | {name: table.c[name] for name in columns},
        missing_when_null=[name for name, c in columns.items() if c["nullMeans"] == "missing"],
        resource_id=table.c.id,
    )


def test_filters_select_what_checks_allow(tmp_path):
    if "EDICT_ROWTRIALS" not in os.environ:
        if shutil.which("go") is None:
            pytest.skip("the trials of row filters are made by Edict, which needs go")
        os.environ["EDICT_ROWTRIALS"] = str(tmp_path / "rowtrials")
        build = ["go", "build", "-o", os.environ["EDICT_ROWTRIALS"], "./engine/internal/rowtrials"]
        subprocess.run(build, cwd=ROOT, check=True)
    counts, refused = collections.Counter(), collections.Counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        for done in pool.map(run, range(SEED, SEED + PROCESSES), [TRIALS // PROCESSES] * PROCESSES):
            counts += done[0]
            refused += done[1]
            assert done[2] is None, done[2]
    print(f"\n{dict(counts)}\nrefused: {dict(refused)}")
    assert counts["trials"] >= TRIALS
    # They are of use only if most are run, and on filters that tell rows apart.
    assert counts["refused"] < 0.4 * TRIALS
    assert 0.05 * counts["rows"] < counts["allowed"] < 0.95 * counts["rows"]
