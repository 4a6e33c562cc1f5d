"""An HTTP file server on loopback that can fail on demand: 503s, cut connections, a wrong length."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit


class FileServer:
    """Serves `files` at `url`; `requests` lists each (path, Range header) it got.

    Attributes:
        failures: Path -> what the next requests for it meet, first to last: a status, "cut" (half of the bytes, then
            the connection ends), "short" (half of the bytes, as if that were all) or "long" (more announced than come).
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.requests: list[tuple[str, str | None]] = []
        self.failures: dict[str, list[int | str]] = {}

    def answer(self, path: str, query: str) -> bytes | None:
        """The file of a path; None for a 404."""
        return self.files.get(path)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"shop": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    shop: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.shop.requests.append((path, self.headers.get("Range")))
        planned = self.shop.failures.get(path, [])
        failure = planned.pop(0) if planned else None
        data = self.shop.answer(path, urlsplit(self.path).query)
        if data is None or isinstance(failure, int):
            self.send_response(failure if isinstance(failure, int) else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        resumed = self.headers.get("Range") if self.headers.get("If-Range") == etag else None
        begin = int(resumed.removeprefix("bytes=").rstrip("-")) if resumed else 0
        body = data[begin:]
        announced = {"short": len(body) // 2, "long": len(body) + 100}.get(str(failure), len(body))
        if failure in ("cut", "short"):
            body = body[: len(body) // 2]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(announced))
        self.send_header("ETag", etag)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
