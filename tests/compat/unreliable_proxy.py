"""A proxy before the server that makes trouble a given number of times and then lets everything through.

What it does is in the path, before `/v1`, so that any client in any language orders it with its base URL:

    http://127.0.0.1:<port>/<trouble>/<times>/<name>/v1

The trouble is a status to refuse with, `hang-up` to close the connection unanswered, `stall` to leave it unanswered until the client
hangs up, or `cut` to pass the server's answer on and close the connection in its middle. The name keeps the counts of two clients apart.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: How much of an answer `cut` passes on: the first event of a stream, or the beginning of it.
_CUT_AFTER_BYTES = 200


class UnreliableProxy:
    """Entering starts it, leaving ends it.

    Args:
        port: where the server listens on loopback.
    """

    def __init__(self, port: int) -> None:
        self._server = _Server(port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="unreliable-proxy", daemon=True)

    def __enter__(self) -> UnreliableProxy:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """To be followed by `/<trouble>/<times>/<name>/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        self.target_port = port
        self._troubled: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look its own name up in the DNS.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to talk about."""

    def wants_trouble(self, order: str, times: int) -> bool:
        with self._lock:
            self._troubled[order] += 1
            return self._troubled[order] <= times


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _any_method(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, trouble, times, name, path = self.path.split("/", 4)
        if not self.server.wants_trouble(f"{trouble}/{times}/{name}", int(times)):
            self._pass_on(path, body)
        elif trouble == "hang-up":
            self.close_connection = True
        elif trouble == "stall":
            self.connection.recv(1)
            self.close_connection = True
        elif trouble == "cut":
            self._pass_on(path, body, limit=_CUT_AFTER_BYTES)
        else:
            self._refuse(int(trouble))

    do_GET = do_POST = do_DELETE = _any_method

    def _refuse(self, status: int) -> None:
        error = {"message": f"The proxy says {status}.", "type": "server_error", "param": None, "code": "refused_by_the_proxy"}
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, path: str, body: bytes, limit: int | None = None) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection", "accept-encoding")}
        self.close_connection = True
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.target_port)) as onward:
            onward.request(self.command, f"/{path}", body, headers)
            answer = onward.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := answer.read1(65536):
                piece = piece[:limit]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if limit is not None:
                    return
            self.wfile.write(b"0\r\n\r\n")
