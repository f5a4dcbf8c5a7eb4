"""Tokens that are not this request's own, good and unused are refused."""

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

from edict_fastapi import Edict, FilterVerifier, MemoryReplayStore, Misconfigured, Refused, SQLReplayStore
from tokens import ALWAYS, NOW, OTHER_KEY, b64, claims, hash_of, header, jwks, scope, sign, token, verifier
from trees import attr, v, x

def test_a_good_token_gives_its_filter():
    filter = verifier().verify(scope(token()))
    assert (filter.filter, filter.kind, filter.actions, filter.principal) == (ALWAYS, "expense", ("list",), "alice")


def test_a_token_that_edict_made():
    """testdata/token.json is of extauthz/filtertoken, with a key that is known."""
    made = json.loads((Path(__file__).parent / "testdata" / "token.json").read_text())
    judge = verifier(keys=made["jwks"], clock=lambda: made["now"] + 29)
    request = {"path": "/expenses/a%2Fb", "query": "q=%20<&>", "host": "expenses.example:8000", "principal": "zo%C3%AB,%20100%25"}
    filter = judge.verify(scope(made["token"], **request))
    assert (filter.principal, filter.kind, filter.actions) == ("zoë, 100%", "expense", ("list", "view"))
    assert filter.filter["condition"] == x("holds", x("eq", attr("owner"), v("zoë <&>")))


GOOD = {
    "a query": (token(qsh=hash_of("a=1&b=%20")), {"query": "a=1&b=%20"}),
    "an empty query": (token(), {"query": ""}),
    "an escaped path": (token(pth="/a%2Fb/c%20d"), {"path": "/a%2Fb/c%20d"}),
    "a host in capitals": (token(), {"host": "Expenses.Example"}),
    "a host with a port": (token(hst="x:8000"), {"host": "x:8000"}),
    "a name beyond ASCII": (token(sub="zoë, 100%"), {"principal": "zo%C3%AB,%20100%25"}),
    "a plus in a name": (token(sub="a+b"), {"principal": "a+b"}),
    "HEAD": (token(mth="HEAD"), {"method": "HEAD"}),
    "clocks that differ by a second": (token(iat=NOW + 1, exp=NOW + 31), {}),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    made, request = GOOD[name]
    assert verifier().verify(scope(made, **request)).kind == "expense"


def tampered(part, change):
    parts = token().split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


other = sign(header(OTHER_KEY), json.dumps(claims()).encode(), OTHER_KEY)
REFUSED = {
    # what is refused: token, request, a part of the reason
    "no token": (None, {}, "0 headers for the filter"),
    "an empty one": ("", {}, "no token"),
    "two": (token(), {"more": [("x-edict-filter", token())]}, "2 headers for the filter"),
    "text": ("x", {}, "no token"),
    "too large": (token(flt={"kind": "x" * 20000}), {}, "larger"),
    "four parts": (token() + ".x", {}, "no token"),
    "no signature": (token().rpartition(".")[0] + ".", {}, "no token"),
    "another payload": (tampered(1, lambda p: b64(json.dumps(claims(sub="bob")).encode())), {}, "Signature verification failed"),
    "another signature": (tampered(2, lambda s: "A" * 86), {}, "Signature verification failed"),
    "another key": (other, {}, "unknown key"),
    "another key by the name of Edict's": (sign(header(), json.dumps(claims()).encode(), OTHER_KEY), {}, "Signature"),
    "alg none": (sign(header(alg="none"), json.dumps(claims()).encode()), {}, "not signed by EdDSA"),
    "alg HS256": (sign(header(alg="HS256"), json.dumps(claims()).encode()), {}, "not signed by EdDSA"),
    "typ JWT": (sign(header(typ="JWT"), json.dumps(claims()).encode()), {}, "header"),
    "no typ": (sign({"alg": "EdDSA", "kid": "k"}, json.dumps(claims()).encode()), {}, "header"),
    "crit": (sign(header(crit=["b64"], b64=False), json.dumps(claims()).encode()), {}, "header"),
    "jku": (sign(header(jku="http://evil.example"), json.dumps(claims()).encode()), {}, "header"),
    "a kid that is a number": (sign(header(kid=1), json.dumps(claims()).encode()), {}, "not signed by EdDSA"),
    "no JSON": (sign(header(), b"x"), {}, "can't be read"),
    "no object": (sign(header(), b"[]"), {}, "no object"),
    "a claim twice": (sign(header(), json.dumps(claims()).replace("{", '{"sub":"eve",', 1).encode()), {}, "twice"),
    "deep nesting": (sign(header(), b"[" * 9000), {}, "nested too deep"),
    "NaN": (sign(header(), json.dumps(claims(flt={"kind": float("nan")})).encode()), {}, "NaN"),
    "expired": (token(iat=NOW - 60, exp=NOW - 30), {}, "expired"),
    "made tomorrow": (token(iat=NOW + 3600, exp=NOW + 3630), {}, "ahead"),
    "for a year": (token(exp=NOW + 365 * 86400), {}, "a life"),
    "expired before it was made": (token(iat=NOW + 2, exp=NOW + 1), {}, "a life"),
    "exp as text": (token(exp=str(NOW + 30)), {}, "'exp'"),
    "exp true": (token(exp=True), {}, "'exp'"),
    "exp with a fraction": (token(exp=NOW + 30.5), {}, "'exp'"),
    "an unknown claim": (token(aud="x"), {}, "'aud'"),
    "another issuer": (token(iss="mallory"), {}, "issuer"),
    **{f"no {name}": (token(**{name: None}), {}, "without") for name in claims() if name != "flt"},
    "no filter and no handle": (token(flt=None), {}, "needs a filter"),
    "a filter and a handle": (token(hdl="A" * 43), {}, "needs a filter"),
    "a handle of another form": (token(flt=None, hdl="../keys"), {}, "needs a filter"),
    "no actions": (token(act=[]), {}, "actions"),
    "an action that is no text": (token(act=[1]), {}, "actions"),
    "no id": (token(jti=""), {}, "without an id"),
    "another method": (token(), {"method": "POST"}, "another method"),
    "HEAD with a token for GET": (token(), {"method": "HEAD"}, "another method"),
    "another path": (token(), {"path": "/reports"}, "another path"),
    "a path below": (token(), {"path": "/expenses/1"}, "another path"),
    "a slash more": (token(), {"path": "/expenses/"}, "another path"),
    "another spelling of the path": (token(pth="/a%2fb"), {"path": "/a%2Fb"}, "another path"),
    "a query more": (token(), {"query": "all=1"}, "another query"),
    "a query less": (token(qsh=hash_of("a=1")), {}, "another query"),
    "another query": (token(qsh=hash_of("a=1")), {"query": "a=2"}, "another query"),
    "another host": (token(), {"host": "reports.example"}, "another host"),
    "two hosts": (token(), {"more": [("host", "expenses.example")]}, "2 headers for the host"),
    "another principal": (token(), {"principal": "bob"}, "another principal"),
    "no principal": (token(), {"principal": None}, "0 headers for the principal"),
    "an empty principal": (token(sub=""), {"principal": ""}, "not Edict's"),
    "two principals": (token(), {"more": [("x-edict-principal", "alice")]}, "2 headers for the principal"),
    "a principal that is not encoded": (token(sub="zoë"), {"principal": "zoë"}, "not Edict's"),
    "a principal in small hexadecimals": (token(sub="zoë"), {"principal": "zo%c3%ab"}, "not Edict's"),
    "a principal that is not UTF-8": (token(sub="zoë"), {"principal": "zo%EB"}, "not UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    made, request, reason = REFUSED[name]
    with pytest.raises(Refused, match=reason.replace(".", r"\.")):
        verifier().verify(scope(made, **request))


def test_a_token_is_good_once():
    v, made = verifier(), token()
    v.verify(scope(made))
    with pytest.raises(Refused, match="used before"):
        v.verify(scope(made))


def test_a_request_that_is_refused_uses_no_token_up():
    v, made = verifier(), token()
    with pytest.raises(Refused):
        v.verify(scope(made, principal="bob"))
    assert v.verify(scope(made)).principal == "alice"


def test_a_token_is_remembered_until_no_clock_takes_it_any_more():
    now = [float(NOW)]
    v = verifier(clock=lambda: now[0], replays=MemoryReplayStore(clock=lambda: now[0]))
    made = token(iat=NOW, exp=NOW + 30)
    v.verify(scope(made))
    now[0] = NOW + 31.9  # within the leeway
    with pytest.raises(Refused, match="used before"):
        v.verify(scope(made))
    now[0] = NOW + 32
    with pytest.raises(Refused, match="expired"):
        v.verify(scope(made))


def shared_store(tmp_path, clock=time.time):
    store = SQLReplayStore(create_engine(f"sqlite:///{tmp_path}/used.db"), clock=clock)
    store.create()
    store.create()
    return store


@pytest.mark.parametrize("make,count", [(lambda _: MemoryReplayStore(), 500), (shared_store, 20)], ids=["memory", "SQL"])
def test_replays_are_found_by_threads_at_once(make, count, tmp_path):
    store, new, start = make(tmp_path), [], threading.Barrier(8)

    def use():
        start.wait()
        for i in range(count):
            if store.add(str(i), time.time() + 60):
                new.append(i)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(new) == list(range(count))


@pytest.mark.parametrize("make", [lambda _, clock: MemoryReplayStore(clock=clock), lambda *of: shared_store(*of)], ids=["memory", "SQL"])
def test_a_token_that_expires_on_its_way_to_the_store_may_have_been_forgotten(make, tmp_path):
    now = [0.0]
    store = make(tmp_path, lambda: now[0])
    assert store.add("late", 10)
    now[0] = 10.5
    assert store.add("another", 20)  # forgets the first
    assert not store.add("late", 10)


def test_workers_that_start_at_once_make_one_table(tmp_path):
    stores = [SQLReplayStore(create_engine(f"sqlite:///{tmp_path}/used.db")) for _ in range(2)]

    @event.listens_for(stores[0]._engine, "before_cursor_execute")
    def meanwhile(connection, cursor, statement, *_):
        if "CREATE TABLE" in statement:
            stores[1].create()

    stores[0].create()
    assert stores[0].add("a", 2e9) and not stores[1].add("a", 2e9)


def test_a_table_that_can_not_be_made_is_an_error(tmp_path):
    with pytest.raises(OperationalError):
        SQLReplayStore(create_engine(f"sqlite:///{tmp_path}/nowhere/used.db")).create()


def test_a_full_store_refuses_until_tokens_expire():
    now = [0.0]
    store = MemoryReplayStore(most=2, clock=lambda: now[0])
    assert store.add("long", 100) and store.add("short", 10)
    assert not store.add("third", 10)
    now[0] = 50  # behind the one that lives on
    assert store.add("third", 60)
    assert not store.add("long", 100)


def test_a_table_of_tokens_is_kept_small(tmp_path):
    now = [0.0]
    engine = create_engine(f"sqlite:///{tmp_path}/used.db")
    store = SQLReplayStore(engine, clock=lambda: now[0])
    assert not store.add("no table", 10)
    store.create()
    assert store.add("a", 10) and not store.add("a", 10)
    now[0] = 11
    assert store.add("b", 20)
    with engine.connect() as connection:
        assert connection.execute(text("select token from edict_used_tokens")).scalars().all() == ["b"]


def test_a_prefix_that_the_server_adds_is_taken_away():
    v = verifier(prefix="/api")
    assert v.verify(scope(token(), path="/api/expenses")).kind == "expense"
    with pytest.raises(Misconfigured, match="does not put"):
        v.verify(scope(token(), path="/expenses"))


def test_the_host_is_not_compared_if_the_proxy_changes_it():
    assert verifier(check_host=False).verify(scope(token(), host="10.0.0.1:8000")).kind == "expense"


def test_a_server_that_does_not_tell_the_raw_path_is_not_trusted():
    request = scope(token())
    del request["raw_path"]
    with pytest.raises(Misconfigured, match="raw_path"):
        verifier().verify(request)


def test_a_websocket_is_refused():
    with pytest.raises(Refused, match="HTTP"):
        verifier().verify(scope(token()) | {"type": "websocket"})


WRONG_OPTIONS = [
    ({}, "give keys_url"),
    ({"keys": jwks(), "keys_url": "http://127.0.0.1:3592"}, "give keys_url"),
    ({"edict": Edict("http://127.0.0.1:1"), "keys_url": "http://127.0.0.1:3592"}, "give keys_url"),
    ({"keys_url": "ftp://x"}, "no address"),
    ({"keys_url": "http://edict.example:3592"}, "plain http"),
    ({"keys_url": "http://127.0.0.1:3592/keys"}, "no path"),
    ({"keys_url": "https://user:pw@edict.example"}, "no address"),
    ({"keys_url": "http://127.0.0.1:99999"}, "no address"),
    ({"keys": {}}, "no JWK set"),
    ({"keys": {"keys": []}}, "no Ed25519 key"),
    ({"keys": b"-----BEGIN PUBLIC KEY-----"}, "PEM"),
    ({"keys": "/nowhere/keys.json"}, "No such file"),
    ({"keys": jwks(), "leeway": 60}, "leeway"),
    ({"keys": jwks(), "prefix": "api"}, "prefix"),
]


@pytest.mark.parametrize("options,reason", WRONG_OPTIONS)
def test_wrong_options_are_told_at_the_start(options, reason):
    with pytest.raises(Misconfigured, match=reason):
        FilterVerifier(**options)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.one_of(st.binary(max_size=300), st.builds(lambda a, b: sign(a, b).encode(), st.one_of(st.just(header()), st.dictionaries(st.text(), st.integers())), st.binary(max_size=200))))  # fmt: skip
def test_whatever_comes_is_refused_and_nothing_else(made):
    request = scope()
    request["headers"].append((b"x-edict-filter", made))
    with pytest.raises(Refused):
        verifier().verify(request)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({}, optional={n: st.one_of(st.none(), st.integers(), st.text(), st.just([]), st.just({})) for n in claims()}))
def test_no_claim_can_be_another(changes):
    genuine = claims()
    made = genuine | changes
    v = verifier()
    same = all(made[n] == genuine[n] and type(made[n]) is type(genuine[n]) for n in ("iss", "sub", "mth", "pth", "hst"))
    try:
        v.verify(scope(sign(header(), json.dumps(made).encode())))
    except Refused:
        return
    assert same and isinstance(made["jti"], str)


