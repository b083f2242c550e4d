"""Shows the reports of a store to browsers of this machine: a page on the server cannot link to a file."""

import re
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tag2mask.flows.dag.delivery import REPORT
from tag2mask.flows.serving.guard import Request, Rules
from tag2mask.flows.serving.peers import is_of_this_user

PAGE = re.compile(r"^/([0-9a-f]{20})/([A-Za-z0-9][A-Za-z0-9._-]*\.html)$")
"""`/<key>/<name>.html`; nothing else of the store can be named."""
RULES = Rules()
"""Names of this machine alone, and links from anywhere: those of Prefect's pages come from another port."""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of a report, which holds all that it shows: it loads nothing, and no other page shows or reads it."""


class _Handler(BaseHTTPRequestHandler):
    """Answers with `<root>/render_report/<key>/<name>.html`."""

    timeout = 10
    """Seconds after which a browser that says nothing is hung up on."""

    def __init__(self, *given: object, root: Path) -> None:
        self.root = root
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:  # the base class's name
        """Send a report."""
        reason = self._refusal()
        if reason:
            self.send_error(HTTPStatus.FORBIDDEN, "refused", reason)
            return
        named = PAGE.match(self.path)
        path = self.root / REPORT / named[1] / named[2] if named else None
        if path is None or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND, "no such report: it may have been collected by `tag2mask gc`")
            return
        content = path.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in PAGE_HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refusal(self) -> str:
        """Why the request is not answered; "" where it is."""
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        return RULES.refusal(Request(self.command, self.path, headers))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """Takes connections of this user's programs alone: others get no thread and no word."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is taken."""
        return is_of_this_user(client_address, request.getsockname())


def serve_reports(root: Path, port: int) -> str:
    """Show reports on the loopback until this process ends; their base address.

    Args:
        root: the store's folder.
        port: port to listen on, 0 for any that is free.

    Raises:
        OSError: the port is taken.
    """
    server = _Server(("127.0.0.1", port), partial(_Handler, root=root.absolute()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
