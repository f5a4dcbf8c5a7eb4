"""Answers the commands of docs/fastapi.md by the files of the page, in this folder.

Standard input is a JSON list of commands; standard output is what each of them prints,
a list too. curl asks the application of main.py, without a server in between.
"""

import io
import json
import runpy
import shlex
import sys
from contextlib import redirect_stdout

import errors  # noqa: F401  adds what it says to the application
import httpx
from fastapi.testclient import TestClient
from main import app


def run(client: TestClient, command: str) -> str:
    program, *words = shlex.split(command)
    if program == "python":
        with redirect_stdout(io.StringIO()) as out:
            runpy.run_path(words[0])
        return out.getvalue()
    assert program == "curl" and words[0] == "-H", command
    name, value = words[1].split(": ")
    answer = client.get("http://" + words[2], headers={name: value})
    return answer.text + "\n"


with TestClient(app) as client:
    printed = [run(client, command) for command in json.load(sys.stdin)]
    # The page's last promise: without Edict nobody gets anything.
    async def unreachable(*_, **__):
        raise httpx.ConnectError("nobody answers")

    httpx.AsyncClient.post = unreachable
    refused = client.get("/expense/1", headers={"x-user": "anna"})
    assert refused.status_code == 503, refused
json.dump(printed, sys.stdout)
