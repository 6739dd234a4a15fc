"""The page's server, by Python's own ``http.server``: for this machine alone, and for this page alone.

It listens on the loopback interface. Whatever another page in the same browser sends is refused: names that lead here
by a trick of DNS by ``Host``, forms and scripts of other pages by ``Origin``. Nothing that is sent is written anywhere.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from games.serve.answers import Answers
from patchgame_egg.data.pixels import UNREADABLE

LARGEST_FILE = 20_000_000
"""Bytes of the largest file that is taken."""

_HERE = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
# Of a browser that sends nothing any more.
_PATIENCE = 30.0


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        why: in one line.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def serve(answers: Answers, port: int) -> ThreadingHTTPServer:
    """A server that is ready; ``serve_forever()`` answers.

    Args:
        answers: of a run.
        port: of this machine; 0: any that is free, ``server_port`` says which.

    Raises:
        ValueError: the port is taken, or not for everybody.
    """
    try:
        return _Server(("127.0.0.1", port), partial(_Page, answers))
    except OSError as error:
        raise ValueError(f"--port {port}: {error.strerror}; another may be free, 0 takes any that is") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that has gone away is no event.
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"error: {error!r}", file=sys.stderr, flush=True)


class _Page(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server_version, sys_version = "patchgame_egg", ""

    def __init__(self, answers: Answers, *request: Any) -> None:
        self.answers = answers
        super().__init__(*request)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, answer: Any) -> None:
        try:
            self._check_sender()
            kind, body = answer()
            status = 200
        except Refused as error:
            status, kind, body = error.status, "application/json", _json({"error": str(error)})
        except Exception as error:  # one line for the page and the terminal; the server goes on
            print(f"error: {self.path[:80]}: {error!r}", file=sys.stderr, flush=True)
            status, kind, body = 500, "application/json", _json({"error": "this failed; the terminal says why"})
        self.send_response(status)
        text = kind.startswith("text/") or kind == "application/json"
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600" if kind == "image/jpeg" else "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def _check_sender(self) -> None:
        assert isinstance(self.server, _Server)
        port = self.server.server_port
        hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:
            hosts |= {"127.0.0.1", "localhost"}
        if self.headers.get("Host", "") not in hosts:
            raise Refused(403, "this page is for this machine alone")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in hosts:
            raise Refused(403, "this is for its own page alone")

    def _get(self) -> tuple[str, bytes]:
        path = self.path.partition("?")[0]
        if path in _FILES:
            name, kind = _FILES[path]
            return kind, (_HERE / name).read_bytes()
        if path == "/run":
            return "application/json", _json(self.answers.about())
        try:
            if found := re.fullmatch(r"/picture/(\d{1,9})\.jpg", path):
                return "image/jpeg", self.answers.picture(int(found[1]))
            if found := re.fullmatch(r"/held-out/(\d{1,9})", path):
                return "application/json", _json(self.answers.of_held_out(int(found[1])))
        except IndexError as error:
            raise Refused(404, str(error)) from error
        raise Refused(404, "there is nothing here")

    def _post(self) -> tuple[str, bytes]:
        if self.path != "/speak":
            raise Refused(404, "there is nothing here")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", length):
            raise Refused(411, "the length of the file is not said")
        if int(length) > LARGEST_FILE:
            # What is not read would be taken for the next request.
            self.close_connection = True
            raise Refused(413, f"the file has {int(length):,} bytes: give one of at most {LARGEST_FILE:,}")
        data = self.rfile.read(int(length))
        try:
            return "application/json", _json(self.answers.of_file(data))
        except (*UNREADABLE, ValueError) as error:
            why = (str(error) or repr(error)).splitlines()[0]
            raise Refused(415, f"this cannot be read as an image: {re.sub(r'<_io.*?>', 'it', why)}") from error

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
