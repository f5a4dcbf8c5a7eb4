"""Says what Starlette's router makes of paths.

Reads JSON from standard input, first a list of applications, each a list of
[route name, methods, path], then one line for each question:

    [application, how, method, target]

The target goes through uvicorn's own HTTP/1.1 protocol, which makes the ASGI scope
of it, and the scope through Starlette's own router. Writes one JSON line for each
question: [route name, parameters], [null, status] if no route is called, or null if
uvicorn refuses the target.

`how` tells about the server that stands in Starlette's place: "" is Starlette as it
is. The others read one spelling in another way, and are made by a middleware that
changes the scope as such a server would:

    split-first     splits the path before it decodes it, so that %2F ends no segment
    merge-slashes   takes several slashes for one
    drop-parameters drops ;parameters before it decodes
    ignore-case     compares paths without regard to case
"""

import asyncio
import copy
import json
import logging
import re
import sys
from urllib.parse import unquote

from starlette.routing import Route, Router
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

SLASH = "\ue000"  # stands for a slash within a segment; no question has it


class Endpoint:
    """An ASGI application that notes that it was called."""

    def __init__(self, name):
        self.name = name

    async def __call__(self, scope, receive, send):
        scope["called"] = [self.name, scope["path_params"]]


class Transport(asyncio.Transport):
    """Takes what is written, and is nowhere."""

    def get_extra_info(self, name, default=None):
        return default

    def write(self, data):
        pass

    def close(self):
        pass

    def is_closing(self):
        return False

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Loop:
    """Runs nothing: the scope is all that is wanted."""

    class Task:
        def add_done_callback(self, _):
            pass

    def create_task(self, coroutine, **_):
        coroutine.close()
        return self.Task()

    def call_later(self, *_):
        return None


async def nothing(*_):
    pass


def main():
    config = Config(app=nothing, http="h11", log_config=None)
    config.load()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    applications = [
        Router([Route(path, Endpoint(name), methods=methods or None) for name, methods, path in routes])
        for routes in json.loads(sys.stdin.readline())
    ]
    careless = copy.deepcopy(applications)
    for router in careless:
        for route in router.routes:
            route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    loop = Loop()
    last, scope = None, None
    for line in sys.stdin:
        application, how, method, target = json.loads(line)
        if (method, target) != last:
            last, scope = (method, target), scope_of(config, loop, method, target)
        routers = careless if how == "ignore-case" else applications
        answer = None if scope is None else ask(routers[application], dict(scope), how)
        sys.stdout.write(json.dumps(answer) + "\n")


def scope_of(config, loop, method, target):
    """Gives the scope that uvicorn makes of a request, None if it refuses it."""
    protocol = H11Protocol(config, ServerState(), {}, _loop=loop)
    protocol.connection_made(Transport())
    request = f"{method} {target} HTTP/1.1\r\nHost: x.test\r\n\r\n"
    protocol.data_received(request.encode("utf-8"))
    return protocol.scope


def ask(router, scope, how):
    raw = scope["raw_path"].decode("ascii")
    if how == "split-first":
        scope["path"] = unquote(re.sub("%2f", SLASH, raw, flags=re.IGNORECASE))
    elif how == "merge-slashes":
        scope["path"] = re.sub("/+", "/", scope["path"])
    elif how == "drop-parameters":
        scope["path"] = unquote(re.sub(";[^/]*", "", raw))
    status = []

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])

    run(router(scope, nothing, send))
    if "called" not in scope:
        return [None, status[0]]
    name, params = scope["called"]
    return [name, {k: str(v) for k, v in params.items()}]


def run(coroutine):
    """Runs a coroutine that waits for nothing."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


main()
