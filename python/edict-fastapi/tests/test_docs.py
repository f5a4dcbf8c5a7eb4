"""The examples in Markdown run, and the pages say what is so."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

import cel
from edict_fastapi import Columns, FilterVerifier, RowFilter, translate
from edict_fastapi.translate import MAX_NODES
from tokens import ask, clock, jwks, scope, token, verifier
from trees import attr, v, x

PACKAGE = Path(__file__).resolve().parents[1]
PAGE = PACKAGE.parents[1] / "docs" / "row-filters.md"
OWN = {"kind": "KIND_CONDITIONAL", "condition": x("holds", x("eq", attr("owner"), v("alice")))}


def blocks(page):
    return re.findall(r"(?ms)^```python\n(.*?)^```$", page.read_text())


def memory():
    return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the page's examples define, in a folder that has the files that they name.

    The first is main.py, whose table the second fills. TestRowFiltersPage in envoy/e2e runs
    them behind Edict and Envoy.
    """
    folder = tmp_path_factory.mktemp("docs")
    (folder / "filter-keys.json").write_text(json.dumps(jwks()))
    main = ModuleType("main")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(sys.modules, "main", main)
        for block in blocks(PAGE):
            exec(compile(block, PAGE.name, "exec"), main.__dict__)
    return main.__dict__


def test_the_route_of_the_page_lists_the_caller_s_rows(shown):
    assert len(blocks(PAGE)) == 5
    shown["rows"].verifier = verifier()
    assert ask(shown["app"], scope(token(flt=OWN)))[2] == b"[1,3]"
    assert ask(shown["app"], scope())[0] == 403


def test_the_keys_and_stores_of_the_page_work(shown):
    for name in ("by_file", "by_file_and_edict"):
        shown[name].clock = clock
        assert shown[name].verify(scope(token())).kind == "expense"
    assert shown["store"].add("x", 2e9) and not shown["store"].add("x", 2e9)


def test_the_readme_s_example_runs(shown):
    (block,) = blocks(PACKAGE / "README.md")
    names = {name: shown[name] for name in ("Expense", "engine")}
    names |= {"app": FastAPI(), "Depends": Depends, "Session": Session, "select": select}
    exec(compile(block, "README.md", "exec"), names)
    names["rows"].verifier = verifier()
    assert ask(names["app"], scope(token(flt=OWN)))[2] == b"[1,3]"


def test_the_readme_names_every_module():
    table = re.findall(r"(?m)^\| (`.+?`) \|", (PACKAGE / "README.md").read_text())
    named = set(re.findall(r"`(\w+)`", " ".join(table)))
    assert named == {f.stem for f in (PACKAGE / "src" / "edict_fastapi").glob("*.py")} - {"__init__"}


CONDITIONS = {
    'R.attr.reviewer == "amy"': x("eq", attr("reviewer"), v("amy")),
    'R.attr.reviewer != "amy"': x("ne", attr("reviewer"), v("amy")),
    "R.attr.reviewer == null": x("eq", attr("reviewer"), v(None)),
    "has(R.attr.reviewer)": x("has", attr("reviewer")),
    'R.attr.reviewer < "b"': x("lt", attr("reviewer"), v("b")),
    '!(R.attr.reviewer == "amy")': x("not", x("eq", attr("reviewer"), v("amy"))),
    r'R.attr.reviewer == "amy" \|\| true': x("or", x("eq", attr("reviewer"), v("amy")), v(True)),
}


def test_null_means_what_the_page_says(shown):
    Claim, engine = shown["Claim"], memory()
    shown["Base"].metadata.create_all(engine)
    rows = re.findall(r"(?m)^\| `(.+)` \| (true|false|an error) \| (true|false|an error) \|$", PAGE.read_text())
    assert [r[0] for r in rows] == list(CONDITIONS)
    with Session(engine) as session:
        session.add(Claim(id=1, total=1))
        session.commit()
        for source, *answers in rows:
            for answer, missing in zip(answers, ([], ["reviewer"]), strict=True):
                columns = Columns(Claim, {"reviewer": Claim.reviewer}, missing_when_null=missing)
                for leaf, expected in (("holds", answer == "true"), ("errs", answer == "an error")):
                    condition = x(leaf, CONDITIONS[source])
                    where = translate({"kind": "KIND_CONDITIONAL", "condition": condition}, columns)
                    assert (session.scalars(select(Claim.id).where(where)).all() == [1]) is expected, (source, missing)
                    assert cel.holds(condition, {} if missing else {"reviewer": None}) is expected


def test_figures_of_the_page():
    page = PAGE.read_text()
    assert f"more than {MAX_NODES} nodes" in page
    assert "`leeway`, 2 seconds" in page and FilterVerifier(keys=jwks()).leeway == 2
    assert RowFilter.__call__.__code__.co_flags & 0x80 == 0, "FastAPI runs only what is no coroutine in a thread"
