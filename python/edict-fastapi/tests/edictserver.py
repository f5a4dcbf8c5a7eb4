"""A server that answers as Edict's API does, or as a test wants it to."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tokens import jwks


class FakeEdict:
    def __init__(self):
        self.asked = []
        self.keys = (200, jwks())
        self.filters = {}  # by handle; each is given once
        self.answer = None  # status and bytes, for all questions
        self.wait = threading.Event()  # answers are held up until it is set
        self.wait.set()
        self.url = ""


@contextlib.contextmanager
def fake_edict():
    edict = FakeEdict()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(*edict.keys)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            filter = edict.filters.pop(body["handle"], None) if self.path == "/edict/v1/filters/take" else None
            self.reply(*((404, {}) if filter is None else (200, {"flt": filter})))

        def reply(self, status, body):
            edict.asked.append((self.command, self.path))
            edict.wait.wait(10)
            raw = json.dumps(body).encode()
            if edict.answer:
                status, raw = edict.answer
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.send_header("location", "/elsewhere")
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, address):
            pass  # whoever asked did not wait

    server = Server(("127.0.0.1", 0), Handler)
    edict.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield edict
    finally:
        edict.wait.set()
        server.shutdown()
        thread.join()
        server.server_close()
