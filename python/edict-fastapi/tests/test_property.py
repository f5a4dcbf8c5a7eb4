"""Random filters select the rows that CEL says, by tests/cel.py."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

import cel
import trees
from databases import MAPPING, TABLE, attributes, fill, selected
from edict_fastapi import Untranslatable, translate

FILTERS = 400


def compare(connection, seed, filters):
    """Compares random filters on random tables; how many were run, and on which rows they hold."""
    r = random.Random(seed)
    run = allowed = 0
    rows = []
    for i in range(filters):
        if i % 20 == 0:
            rows = trees.table(r, 24)
            fill(connection, rows)
        condition = trees.filter_of(r)
        try:
            got = selected(connection, condition)
        except Untranslatable:
            continue
        expected = {row["id"] for row in rows if cel.holds(condition, attributes(row), row["id"])}
        assert got == expected, f"{json.dumps(condition)}\n{[row for row in rows if row['id'] in got ^ expected]}"
        run += 1
        allowed += len(expected)
    assert run > 0.9 * filters
    assert 0.1 < allowed / (24 * run) < 0.9


def test_sqlite():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        TABLE.metadata.create_all(connection)
        compare(connection, 1, FILTERS)


NODES = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"value": st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3))}),
        st.fixed_dictionaries({"variable": st.sampled_from(["request.resource.attr.owner", "request.resource.attr.paid", "x", ""])}),
        st.sampled_from([{}, {"value": 1, "variable": "x"}, {"expression": None}, {"expression": {"operator": "eq"}}, None, []]),
    ),
    lambda inner: st.builds(
        lambda operator, operands: {"expression": {"operator": operator, "operands": operands}},
        st.sampled_from(["holds", "errs", "and", "or", "not", "if", "eq", "lt", "in", "add", "has", "index", "list", "size", "-_", "no"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(NODES)
def test_whatever_comes_is_translated_or_untranslatable(condition):
    try:
        translate({"kind": "KIND_CONDITIONAL", "condition": condition}, MAPPING)
    except Untranslatable:
        pass


def test_nesting_without_end_is_untranslatable():
    for operator in ("not", "and"):
        endless = {"value": True}
        for _ in range(100_000):
            endless = {"expression": {"operator": operator, "operands": [endless]}}
        for condition in (endless, trees.x("holds", endless)):
            with pytest.raises(Untranslatable):
                translate({"kind": "KIND_CONDITIONAL", "condition": condition}, MAPPING)


@pytest.mark.parametrize("kind", ["KIND_ALWAYS_DENIED", "", None, "KIND_CONDITIONAL"])
def test_a_filter_without_a_condition_is_none(kind):
    with pytest.raises(Untranslatable):
        translate({"kind": kind}, MAPPING)
    with pytest.raises(Untranslatable):
        translate({"kind": "KIND_ALWAYS_ALLOWED", "condition": {"value": False}}, MAPPING)
