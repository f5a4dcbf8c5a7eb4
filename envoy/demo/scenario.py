"""The requests that `make demo` sends, and what each must be answered with."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import jwt

from identity import PEOPLE, new_key, token

OUTSIDE = "127.0.0.2"  # loopback too, but no office network of the policies

# A filter that lets all rows through, signed by nobody.
FORGED_FILTER = jwt.encode(
    {"iss": "edict", "sub": "alice", "mth": "GET", "pth": "/expenses", "knd": "expense", "act": ["open", "view"],
     "flt": {"kind": "KIND_ALWAYS_ALLOWED"}},
    None, algorithm="none", headers={"typ": "edict-filter+jwt"},
)


@dataclass
class Row:
    """One request, and what must come of it. Without a rule none may have decided at the
    proxy: it is the lack of one, of an identity or of a route that denies. Without view
    the service must not have been asked for a decision of its own."""

    who: str
    request: str                     # method and target, as sent
    expect: int                      # the status that must come back
    rule: str = ""                   # the policy rule that must have decided at the proxy
    view: str = ""                   # what the service must have been told of "view": allow or deny
    rows: list[int] | None = None    # the numbers that a list must hold, which the proxy planned
    clock: Callable[[], tuple[int, str]] | None = None  # gives expect and rule by the hour
    body: dict | bytes | None = None # sent as JSON; bytes as they are
    headers: list[tuple[str, str]] = field(default_factory=list)
    source: str = "127.0.0.1"        # the address to send from
    note: str = ""                   # what the row shows, beside its target
    check: Callable[[bytes], bool] | None = None  # what the answer's body must satisfy
    again: str = ""                  # the target to use if the row has to be sent twice


def working_hours() -> tuple[int, str]:
    """What a deletion must be answered with now: allowed from 06:00 until 20:00, UTC."""
    if 6 <= datetime.now(timezone.utc).hour < 20:
        return 204, "owner-deletes-in-working-hours"
    return 403, ""


def bearer(text: str) -> list[tuple[str, str]]:
    return [("Authorization", "Bearer " + text)]


def amount_is(amount: float) -> Callable[[bytes], bool]:
    return lambda body: json.loads(body)["amount"] == amount


def principal_is(who: str) -> Callable[[bytes], bool]:
    return lambda body: json.loads(body).get("x-edict-principal") == [who]


def scenario(key) -> list[Row]:
    """All rows, in the order to send them, with tokens signed by key.

    The rows name expenses of app/store.py's SEED.
    """
    me = {who: bearer(token(key, who)) for who in PEOPLE}

    def row(who: str, request: str, expect, rule: str = "", **more) -> Row:
        more["headers"] = me[who] + more.get("headers", [])
        return Row(who, request, expect, rule, **more)

    return [
        # Reading: the owner, the region's manager, the auditor; nobody else.
        row("alice", "GET /expenses/emea/alice/1", 200, "owner-reads-own"),
        row("alice", "GET /expenses/apac/dave/7", 403),
        row("alice", "GET /totals?region=emea&owner=alice", 200, "owner-reads-own", check=amount_is(3071.4)),
        row("alice", "GET /totals?region=emea", 403),
        row("bob", "GET /totals?region=emea", 200, "manager-reads-own-region", check=amount_is(3151.4)),
        row("bob", "GET /totals?region=apac", 403, note="another region"),
        row("carol", "GET /expenses/apac/dave/7", 200, "auditor-reads-from-office"),
        row("carol", "GET /expenses/apac/dave/7", 403, source=OUTSIDE, note="outside the office"),
        # Both halves of a question: the proxy knows who asks and from where, the service
        # has the row, and asks by the Cerbos SDK.
        row("alice", "GET /expense/1", 200, "employees-open", view="allow", note="her own"),
        row("alice", "GET /expense/7", 403, "employees-open", view="deny", note="dave's"),
        row("alice", "GET /expense/8", 200, "employees-open", view="allow", note="her draft"),
        row("bob", "GET /expense/8", 403, "employees-open", view="deny", note="alice's draft"),
        row("bob", "GET /expense/2", 200, "employees-open", view="allow", note="his region"),
        row("bob", "GET /expense/10", 403, "employees-open", view="deny", note="of no region"),
        row("carol", "GET /expense/2", 200, "auditors-open-from-office", view="allow", note="2600.00, large"),
        row("carol", "GET /expense/7", 403, "auditors-open-from-office", view="deny", note="310.00, of today"),
        row("carol", "GET /expense/9", 200, "auditors-open-from-office", view="allow", note="12.00, waits for months"),
        row("carol", "GET /expense/2", 403, source=OUTSIDE, note="outside the office"),
        row("alice", "GET /expense/99", 404, "employees-open", note="there is none"),
        row("alice", "GET /expense/7", 403, "employees-open", view="deny",
            headers=[("X-Edict-Regions", "apac"), ("X-Edict-Roles", "manager")], note="spoofing a manager"),
        # A list: the proxy plans, and the service selects what the signed filter lets
        # through. Those are the rows that GET /expense/{number} shows to the same person.
        row("alice", "GET /expenses", 200, rows=[1, 2, 4, 5, 8], note="her own"),
        row("bob", "GET /expenses", 200, rows=[1, 2, 3, 4, 5], note="his region, no drafts"),
        row("bob", "GET /expenses?owner=alice", 200, rows=[1, 2, 4, 5], note="of these, alice's"),
        row("bob", "GET /expenses?region=apac", 200, rows=[], note="another region"),
        row("carol", "GET /expenses", 200, rows=[2, 9, 10], note="what matters, of all regions"),
        row("carol", "GET /expenses", 403, source=OUTSIDE, note="outside the office"),
        row("dave", "GET /expenses", 200, rows=[6, 7, 9], note="his region"),
        row("eve", "GET /expenses", 403, note="a role that no policy knows"),
        Row("nobody", "GET /expenses", 401, note="no token"),
        row("alice", "GET /expenses", 200, rows=[1, 2, 4, 5, 8], headers=[("X-Edict-Filter", FORGED_FILTER)],
            note="a filter of her own making"),
        row("alice", "GET /expenses", 400, headers=[("X_Edict_Filter", FORGED_FILTER)],
            note="the same, underscored"),
        # Creating: up to a limit.
        row("alice", "POST /expenses", 201, "employee-creates-in-own-region",
            body={"region": "emea", "department": "engineering", "amount": 64.2}, note="64.20"),
        row("alice", "POST /expenses", 403,
            body={"region": "emea", "department": "engineering", "amount": 64000}, note="64000.00, too much"),
        # Approving: by amount, region, network; never one's own.
        row("bob", "POST /expenses/emea/alice/2/approve", 403, body={"amount": 2600}, note="2600.00, limit 1000"),
        row("bob", "POST /expenses/emea/alice/2/approve", 409, "manager-approves-within-limit",
            body={"amount": 260}, note="untrue: the backend refuses"),
        row("bob", "POST /expenses/emea/alice/2/approve", 400, body=b'{"amount": 260, "amount": 2600}',
            note="an amount for each reader"),
        row("bob", "POST /expenses/emea/alice/1/approve", 403, body={"amount": 420}, source=OUTSIDE,
            note="outside the office"),
        row("bob", "POST /expenses/emea/alice/1/approve", 200, "manager-approves-within-limit",
            body={"amount": 420}, note="420.00"),
        row("bob", "POST /expenses/emea/bob/3/approve", 403, "nobody-approves-their-own",
            body={"amount": 80}, note="his own"),
        row("dave", "POST /expenses/emea/alice/4/approve", 403, body={"amount": 38.5}, note="another region"),
        row("dave", "POST /expenses/apac/erin/6/approve", 200, "manager-approves-within-limit",
            body={"amount": 95}, source=OUTSIDE, note="small, from outside"),
        row("carol", "POST /expenses/apac/erin/6/approve", 403, "auditors-change-nothing", body={"amount": 95}),
        # Deleting: in working hours, by the clock of this very moment.
        row("alice", "DELETE /expenses/emea/alice/5", *working_hours(), clock=working_hours,
            note="allowed 06:00-20:00 UTC", again="/expenses/emea/alice/4"),
        # Identity: none, forged, stale, and a spoofed header.
        Row("nobody", "GET /expenses/emea/alice/1", 401, note="no token"),
        Row("nobody", "GET /expense/1", 401, note="no token"),
        Row("mallory", "GET /expenses/emea/alice/1", 401, headers=bearer(token(new_key(), "alice")),
            note="forged token"),
        Row("alice", "GET /expenses/emea/alice/1", 401, headers=bearer(token(key, "alice", -timedelta(hours=1))),
            note="expired token"),
        row("alice", "GET /whoami", 200, "anybody-known-asks-who-they-are",
            headers=[("X-Edict-Principal", "bob"), ("X-Edict-Roles", "manager")],
            check=principal_is("alice"), note="spoofing bob"),
        row("alice", "GET /whoami", 400, headers=[("X_Edict_Principal", "bob")], note="spoofing bob, underscored"),
        Row("nobody", "GET /healthz", 200, "anybody-asks-for-health", note="no token needed"),
        # Addresses that two servers could read in two ways, or that nobody knows.
        row("alice", "GET /expenses/emea/alice/../../apac/dave/7", 403, note="dot segments"),
        row("alice", "GET /expenses/apac%2fdave%2f7", 400, note="escaped slashes"),
        row("alice", "GET /expenses/emea/alice/%252e%252e", 400, note="dots, encoded twice"),
        row("alice", "GET //expenses///emea/alice/1", 200, "owner-reads-own", note="merged slashes"),
        row("alice", "GET /admin", 403, note="unknown route"),
    ]
