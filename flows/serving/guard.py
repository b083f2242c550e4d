"""Who may talk to a server of this machine: no foreign web page, no foreign name, no other user's program.

A browser lets any page that it shows send requests to the loopback.  It also says where they come from, and a page can
forge neither `Host` nor `Origin` nor `Sec-Fetch-Site`:

- `Host` is the name in the page's address.  A foreign one is DNS rebinding: a name of the attacker that points here.
- `Origin` comes with every WebSocket, every change and every request that a page wants to read the answer of.
- `Sec-Fetch-Site` comes with everything else: pictures, frames, scripts.

Programs send none of these but `Host`.  Nothing of Prefect is imported here.
"""

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from tag2mask.flows.serving.peers import Address, is_of_this_user

Headers = Sequence[tuple[str, str]]
"""Names in lower case, with their values; a name may come more than once."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
        "script-src 'self' 'unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every answer: its pages load nothing from elsewhere, and no other page shows or reads them.

The graph of Prefect's UI compiles its shaders' code, hence `unsafe-eval`."""


@dataclass(frozen=True)
class Request:
    """What the guard looks at; a WebSocket's handshake is a GET."""

    method: str
    path: str
    headers: Headers

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True)
class Rules:
    """Which names a server answers to, and what may be opened by following a link on another page."""

    names: frozenset[str] = frozenset()
    """Names beside `localhost` and numeric addresses, in lower case and without a port: those of a TLS proxy."""
    unlinked: str | None = None
    """Prefix of the paths that no other page may link to; None: links may lead anywhere."""

    def refusal(self, request: Request) -> str:
        """Why a request is not answered; "" where it is."""
        hosts = request.values("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return f"this server has no name {', '.join(hosts) or 'in the request'}: open it by its numeric address"
        origins = request.values("origin")
        if any(not self._may_ask(origin, hosts[0]) for origin in origins):
            return f"a page of {', '.join(origins)} asks, which is not this server's"
        sites = set(request.values("sec-fetch-site")) - {"none", "same-origin"}
        if sites and not self._follows_link(request):
            return "a page of another server asks"
        return _unannounced(request)

    def _is_ours(self, host: str) -> bool:
        """Whether a `Host` cannot be a name that somebody else made point here."""
        name = _name_of(host)
        if name in self.names or name == "localhost":
            return True
        try:
            return not ipaddress.ip_address(name.strip("[]")).is_unspecified
        except ValueError:
            return False

    def _may_ask(self, origin: str, host: str) -> bool:
        scheme, _, place = origin.lower().partition("://")
        return scheme in ("http", "https") and (place == host.lower() or _name_of(place) in self.names)

    def _follows_link(self, request: Request) -> bool:
        """Whether a person followed a link, which opens a page of ours by itself and gives the other page nothing."""
        opens = request.values("sec-fetch-mode") == ["navigate"] and request.values("sec-fetch-dest") == ["document"]
        linked = self.unlinked is None or not f"{request.path}/".startswith(f"{self.unlinked}/")
        return request.method == "GET" and opens and linked


def _name_of(place: str) -> str:
    """`name:port` without its port; "" for what is no such thing."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]+)?", place.lower())
    return found[1] if found else ""


def _unannounced(request: Request) -> str:
    """Why a body is refused that does not say that it is JSON: a page may send others without asking first."""
    length = request.values("content-length")
    has_body = bool(request.values("transfer-encoding")) or any(value.strip() != "0" for value in length)
    if request.method in READING or not has_body:
        return ""
    kinds = [value.partition(";")[0].strip().lower() for value in request.values("content-type")]
    return "" if kinds == ["application/json"] else "a change must say `Content-Type: application/json`"


class Guard:
    """An ASGI application in front of another one."""

    def __init__(self, app: App, rules: Rules, *, ours_alone: bool) -> None:
        """`ours_alone`: other users' programs on this machine are refused, too (they have no password to give)."""
        self.app = app
        self.rules = rules
        self.ours_alone = ours_alone

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or refuse with status 403 and the reason."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = self._refusal(scope)
        if not reason:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})  # a frame holds 123 bytes
        else:
            await _refuse(send, reason)

    def _refusal(self, scope: Message) -> str:
        client, server = scope.get("client"), scope.get("server")
        if self.ours_alone and not is_of_this_user(_address(client), _address(server)):
            return "another user's program asks; `tag2mask server --password` lets those in who know it"
        headers = [(key.decode("latin-1").lower(), value.decode("latin-1")) for key, value in scope["headers"]]
        return self.rules.refusal(Request(scope.get("method", "GET"), scope["path"], headers))


def _address(pair: Any) -> Address | None:
    return (str(pair[0]), int(pair[1])) if pair and pair[1] else None


def _with_headers(send: Send) -> Send:
    """A `send` that adds the headers of every answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {bytes(key).lower() for key, _ in given}
            added = [(key.encode(), value.encode()) for key, value in PAGE_HEADERS.items() if key.encode() not in names]
            message["headers"] = [*given, *added]
        await send(message)

    return sending


async def _refuse(send: Send, reason: str) -> None:
    content = json.dumps({"detail": f"refused: {reason}"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": content})
