"""Keys from files and from Edict, and filters by handles."""

import json
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edict_fastapi import Edict, KeysFromEdict, KeysFromFile, Misconfigured, Refused, StaticKeys
from edict_fastapi.keys import thumbprint
from edictserver import fake_edict
from tokens import ALWAYS, KEY, OTHER_KEY, jwk, jwks, scope, token, verifier

NAME, OTHER = (thumbprint(k.public_key()) for k in (KEY, OTHER_KEY))


def patient(edict):
    """Its API, for machines that are busy."""
    return Edict(edict.url, timeout=60)


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "keys",
    [jwks(), json.dumps(jwks()), json.dumps(jwks()).encode(), pem(KEY), pem(KEY).decode(), pem(OTHER_KEY) + pem(KEY)],
    ids=["object", "text", "bytes", "PEM", "PEM text", "two in PEM"],
)
def test_keys_that_are_given(keys):
    assert StaticKeys(keys).find(NAME) is not None
    assert StaticKeys(keys).find("other") is None


def test_keys_of_other_kinds_and_uses_are_passed_over():
    other = [{"kty": "RSA", "kid": "r"}, jwk(OTHER_KEY, use="enc"), jwk(OTHER_KEY, crv="X25519"), jwk(OTHER_KEY, alg="ES256"), "x"]
    keys = StaticKeys({"keys": [*other, jwk()]})
    assert keys.find(NAME) is not None and keys.find(OTHER) is None and keys.find("r") is None


@pytest.mark.parametrize(
    "keys",
    [
        "[]",
        '{"keys": 1}',
        '{"keys": [], "keys": []}',
        {"keys": [jwk(kid=None)]},
        {"keys": [jwk(), jwk(OTHER_KEY, kid=NAME)]},
        {"keys": [jwk(x="AA")]},
        {"keys": [jwk(x="*" * 43)]},
        pem(Ed448PrivateKey.generate()),
        pem(KEY).replace(b"PUBLIC", b"PRIVATE"),
        pem(KEY) + b"-----BEGIN X-----",
    ],
)
def test_keys_that_are_wrong(keys):
    with pytest.raises(Misconfigured):
        StaticKeys(keys)


def test_a_file_is_read_again_for_an_unknown_key(tmp_path):
    now = [0.0]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(jwks()))
    keys = KeysFromFile(file, clock=lambda: now[0])
    assert keys.find(NAME) is not None and keys.find(OTHER) is None
    file.write_text(json.dumps(jwks(KEY, OTHER_KEY)))
    assert keys.find(OTHER) is None  # not so soon
    now[0] = 5
    assert keys.find(OTHER) is not None
    file.write_text("broken")
    now[0] = 100
    assert keys.find(OTHER) is not None


def test_keys_are_asked_for_when_needed_and_not_too_often():
    now = [0.0]
    with fake_edict() as edict:
        keys = KeysFromEdict(patient(edict), clock=lambda: now[0])
        assert edict.asked == []
        assert all(keys.find(NAME) is not None for _ in range(10))
        assert edict.asked == [("GET", "/.well-known/edict/filter-keys.json")]
        edict.keys = (200, jwks(OTHER_KEY))
        assert all(keys.find(OTHER) is None for _ in range(10))
        assert len(edict.asked) == 1  # it was asked a moment ago
        now[0] = 5
        assert keys.find(OTHER) is not None and keys.find(NAME) is None
        assert len(edict.asked) == 2
        now[0] = 300
        assert keys.find(OTHER) is not None
        now[0] = 306  # no longer fresh
        assert keys.find(OTHER) is not None
        assert len(edict.asked) == 3


def test_keys_outlive_edict_for_a_while():
    now = [0.0]
    with fake_edict() as edict:
        keys = KeysFromEdict(patient(edict), clock=lambda: now[0])
        assert keys.find(NAME) is not None
        edict.keys = (503, {})
        now[0] = 3600
        assert keys.find(NAME) is not None
        now[0] = 3601
        assert keys.find(NAME) is None
        edict.keys = (200, jwks())
        now[0] = 3606
        assert keys.find(NAME) is not None


def test_many_threads_ask_once():
    with fake_edict() as edict:
        keys, found = KeysFromEdict(patient(edict)), []
        threads = [threading.Thread(target=lambda: found.append(keys.find(NAME))) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(found) == 8 and None not in found
        assert len(edict.asked) == 1


HANDLE = "A" * 43


def test_a_large_filter_is_fetched_once():
    with fake_edict() as edict:
        edict.filters[HANDLE] = ALWAYS
        judge = verifier(edict=patient(edict))
        assert judge.verify(scope(token(flt=None, hdl=HANDLE))).filter == ALWAYS
        with pytest.raises(Refused, match="not there"):
            judge.verify(scope(token(flt=None, hdl=HANDLE)))


def test_a_handle_is_not_fetched_for_a_request_that_is_refused():
    with fake_edict() as edict:
        edict.filters[HANDLE] = ALWAYS
        judge = verifier(edict=patient(edict))
        with pytest.raises(Refused):
            judge.verify(scope(token(flt=None, hdl=HANDLE), principal="bob"))
        assert edict.filters == {HANDLE: ALWAYS}


def test_without_an_edict_large_filters_are_a_matter_of_configuration():
    with pytest.raises(Misconfigured, match="too large for a header"):
        verifier().verify(scope(token(flt=None, hdl=HANDLE)))


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"[" * 100_000),
        (200, b'{"flt": 1}'),
        (200, b"[]"),
        (200, b'{"flt": {}, "flt": {}}'),
        (200, b"\xff"),
        (302, b""),
        (500, b"{}"),
    ],
    ids=["too deep", "no object", "a list", "twice", "no text", "a redirect", "a failure"],
)
def test_an_answer_that_is_none_is_refused(answer):
    with fake_edict() as edict:
        judge = verifier(keys=jwks(), edict=patient(edict))
        edict.answer = answer
        with pytest.raises(Refused):
            judge.verify(scope(token(flt=None, hdl=HANDLE)))


def test_a_filter_may_be_as_large_as_edict_keeps_them():
    """262144 bytes are the default of filter.handleBytes."""
    bare = len(json.dumps({"kind": ""}))
    with fake_edict() as edict:
        judge = verifier(keys=jwks(), edict=patient(edict))
        for size, good in ((262144, True), (262145, False)):
            filter = {"kind": "x" * (size - bare)}
            edict.answer = (200, b'{"flt":%s}' % json.dumps(filter).encode())
            if good:
                assert judge.verify(scope(token(flt=None, hdl=HANDLE))).filter == filter
                continue
            with pytest.raises(Misconfigured, match="max_filter_bytes"):
                judge.verify(scope(token(flt=None, hdl=HANDLE)))


def test_an_edict_that_hangs_or_is_away_is_no_filter():
    with fake_edict() as edict:
        edict.wait.clear()
        judge = verifier(keys=jwks(), edict=Edict(edict.url, timeout=0.1))
        with pytest.raises(Refused, match="could not be fetched"):
            judge.verify(scope(token(flt=None, hdl=HANDLE)))
    with pytest.raises(Refused, match="could not be fetched"):
        judge.verify(scope(token(flt=None, hdl=HANDLE)))
    with pytest.raises(Refused, match="unknown key"):
        verifier(keys_url=edict.url).verify(scope(token()))
