"""An HTTP file server on loopback that can fail on demand: 503s, cut connections, a wrong length."""

import hashlib
from urllib.parse import unquote, urlsplit

from tests.servers.loopback import LoopbackHandler, LoopbackServer


class FileServer(LoopbackServer):
    """Serves `files` at `url`; `requests` lists each (path, Range header) it got.

    Attributes:
        failures: Path -> what the next requests for it meet, first to last: a status, "cut" (half of the bytes, then
            the connection ends), "short" (half of the bytes, as if that were all) or "long" (more announced than come).
    """

    def __init__(self, files: dict[str, bytes]):
        super().__init__(_Handler)
        self.files = files
        self.requests: list[tuple[str, str | None]] = []
        self.failures: dict[str, list[int | str]] = {}

    def answer(self, path: str, query: str) -> bytes | None:
        """The file of a path; None for a 404."""
        return self.files.get(path)


class _Handler(LoopbackHandler):
    owner: FileServer

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.owner.requests.append((path, self.headers.get("Range")))
        planned = self.owner.failures.get(path, [])
        failure = planned.pop(0) if planned else None
        data = self.owner.answer(path, urlsplit(self.path).query)
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
