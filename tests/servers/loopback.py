"""What the tests' servers have in common: a thread that answers on loopback while the server is open."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer:
    """A context manager that serves at `url` while it is open; its handlers know it as their `owner`."""

    def __init__(self, handler: type["LoopbackHandler"]):
        self._handler = type("Handler", (handler,), {"owner": self})

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler)
        self._server.socket.listen(64)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers for its `owner`."""

    owner: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""
