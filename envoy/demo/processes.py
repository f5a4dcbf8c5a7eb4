"""Starts the demo's three processes, waits until they answer, and stops them.

What always holds here:

1. A process is written to the pid file as soon as it runs, and stopped on every way
   out of `running`: success, failure, Ctrl-C, SIGTERM, SIGHUP.
2. A process is ended only if its start time is the recorded one, so that a pid that
   the system gave to somebody else is left alone.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STARTUP = 30.0  # seconds for all parts to become ready
GRACE = 5.0     # seconds to stop in, before a process is killed


class Failure(Exception):
    """Something that the user should read, without a stack trace."""


@dataclass
class Part:
    """One process of the demo."""

    name: str
    command: list[str]
    ports: dict[int, str]  # the ports it listens on, and what for
    ready: str             # the URL that answers 200 once it is ready
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None


class Demo:
    """The three processes, started in root, with their files in state."""

    def __init__(self, root: Path, state: Path):
        self.root = root
        self.state = state
        self.pids = state / "demo.pids"
        self.logs = state / "logs"
        self.hold = False               # signals wait while this is set
        self.caught: int | None = None  # the signal that waits

    # ---- start ---------------------------------------------------------------

    @contextmanager
    def running(self, parts: list[Part], leave: bool = False):
        """Runs parts for the length of a with block; beyond it if leave is set and
        the block succeeds."""
        for part in parts:
            for port, use in part.ports.items():
                refuse_taken(port, f"{part.name} ({use})")
        self.logs.mkdir(parents=True, exist_ok=True)
        before = {s: signal.signal(s, self.on_signal) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        stop = True
        try:
            for part in parts:
                self.start(part, parts)
            self.wait(parts)
            yield
            stop = not leave
        finally:
            # From here on nothing interrupts: stopping is bounded by GRACE.
            for s in before:
                signal.signal(s, signal.SIG_IGN)
            if stop:
                self.stop()
            for s, handler in before.items():
                signal.signal(s, handler)

    def on_signal(self, number, frame):
        if self.hold:
            self.caught = number
            return
        raise SystemExit(128 + number)

    def start(self, part: Part, parts: list[Part]) -> None:
        # A signal between the start of a process and the record of it would lose the
        # process, so signals wait until it is recorded.
        self.hold = True
        try:
            with open(self.out(part), "wb") as out, open(self.err(part), "wb") as err:
                part.process = subprocess.Popen(
                    part.command,
                    cwd=self.root,
                    env={**os.environ, **part.env},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,  # Ctrl-C reaches demo.py alone, which stops them in order
                )
            self.record([p for p in parts if p.process])
        except FileNotFoundError as missing:
            raise Failure(f"cannot start {part.name}: there is no {missing.filename}") from None
        finally:
            self.hold = False
        if self.caught is not None:
            raise SystemExit(128 + self.caught)

    def wait(self, parts: list[Part]) -> None:
        deadline = time.monotonic() + STARTUP
        for part in parts:
            while (answer := probe(part.ready)) != "200":
                for other in parts:
                    if other.process.poll() is not None:
                        raise Failure(
                            f"{other.name} ended with status {other.process.returncode} while starting.\n"
                            + self.tail(other)
                        )
                if time.monotonic() > deadline:
                    raise Failure(
                        f"{part.name} was not ready after {STARTUP:.0f} s: {part.ready} answers {answer}.\n"
                        + "\n".join(self.tail(p) for p in parts)
                    )
                time.sleep(0.05)

    def fallen(self, parts: list[Part]) -> str | None:
        """Which process ended by itself, with the end of its log; None if none did."""
        for part in parts:
            if part.process.poll() is not None:
                return f"{part.name} ended with status {part.process.returncode}.\n" + self.tail(part)
        return None

    def out(self, part: Part) -> Path:
        return self.logs / f"{part.name}.out.log"

    def err(self, part: Part) -> Path:
        return self.logs / f"{part.name}.log"

    def tail(self, part: Part) -> str:
        """The end of what part wrote."""
        ends = []
        for file in (self.err(part), self.out(part)):
            lines = file.read_text(errors="replace").splitlines()[-15:]
            if lines:
                ends.append(f"The end of {file}:\n" + "\n".join("    " + line for line in lines))
        return "\n".join(ends) or f"{part.name} wrote nothing."

    # ---- the pid file and the end ----------------------------------------------

    def record(self, parts: list[Part]) -> None:
        records = [{"name": p.name, "pid": p.process.pid, "started": started(p.process.pid)} for p in parts]
        self.pids.write_text(json.dumps(records))

    def alive(self) -> list[dict]:
        """The recorded processes that still run."""
        try:
            records = json.loads(self.pids.read_text())
        except FileNotFoundError:
            return []
        return [r for r in records if r["started"] is not None and started(r["pid"]) == r["started"]]

    def refuse_second(self) -> None:
        names = ", ".join(r["name"] for r in self.alive())
        if names:
            raise Failure(f"the demo runs already ({names}). Stop it with: make demo-down")

    def stop(self) -> list[str]:
        """Ends the recorded processes, the first one last, and returns their names."""
        ended, stuck = [], []
        for process in reversed(self.alive()):
            (ended if end(process) else stuck).append(f"{process['name']} (pid {process['pid']})")
        if stuck:
            raise Failure(f"{', '.join(stuck)} cannot be stopped; end it by hand, then: make demo-down")
        self.pids.unlink(missing_ok=True)
        return ended


def end(process: dict) -> bool:
    """Ends process, by force if it takes longer than GRACE, and says whether it is gone."""
    # Each process leads a group of its own; what it started itself ends with it.
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process["pid"], number)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            try:
                os.waitpid(process["pid"], os.WNOHANG)  # reap it, if it is a child of this process
            except ChildProcessError:
                pass
            if started(process["pid"]) != process["started"]:
                return True
            time.sleep(0.02)
    return False


def started(pid: int) -> str | None:
    """When pid was started, in the system's own form; None if it does not run."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            # A process whose first thread has ended is a zombie at once, but holds its
            # ports until its last thread has ended too.
            threads = len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            return None
        # The name, in parentheses, may hold spaces; state and start time follow it.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" and threads <= 1 else fields[19]
    ps = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = ps.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def refuse_taken(port: int, use: str) -> None:
    with socket.socket() as probe:
        # As servers do, so that connections just closed do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Failure(
                f"port {port} is taken, which {use} needs: {error.strerror}.\n"
                f"See who has it with: ss -ltnp 'sport = :{port}' (or: lsof -i :{port})\n"
                "If it is an earlier demo, stop that with: make demo-down"
            ) from None


def probe(url: str) -> str:
    """The status that url answers with, or why it does not answer."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=2)
    try:
        connection.request("GET", "/" + path)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or repr(error)
    finally:
        connection.close()
