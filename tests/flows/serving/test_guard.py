"""What the guard lets through and what it refuses: requests as browsers and programs send them."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tag2mask.flows.serving.guard import PAGE_HEADERS, Guard, Headers, Message, Receive, Request, Rules, Send
from tag2mask.flows.serving.peers import is_of_this_user

HOST = ("host", "127.0.0.1:4200")
ORIGIN = ("origin", "http://127.0.0.1:4200")
JSON = ("content-type", "application/json")
BODY = ("content-length", "2")
RULES = Rules(unlinked="/api")


def sent(method: str, *headers: tuple[str, str], path: str = "/api/flows/") -> Request:
    """A request."""
    return Request(method, path, headers)


def fetched(site: str, mode: str = "cors", destination: str = "empty") -> Headers:
    """What a browser says of where a request comes from, and what for."""
    return (("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", destination))


LET_IN = {
    "a program reads": sent("GET", HOST),
    "a program changes": sent("POST", HOST, JSON, BODY),
    "a program deletes": sent("DELETE", HOST),
    "a program sends in pieces": sent("POST", HOST, ("transfer-encoding", "chunked"), JSON),
    "JSON with its encoding": sent("POST", HOST, BODY, ("content-type", "Application/JSON; charset=utf-8")),
    "a change without a body": sent("POST", HOST, ("content-length", "0")),
    "our page reads": sent("GET", HOST, *fetched("same-origin")),
    "our page changes": sent("POST", HOST, ORIGIN, JSON, BODY, *fetched("same-origin")),
    "our page through a tunnel": sent("POST", ("host", "localhost:5000"), ("origin", "http://localhost:5000"), JSON),
    "our page over IPv6": sent("GET", ("host", "[::1]:4200"), ("origin", "http://[::1]:4200")),
    "an address typed in": sent("GET", HOST, *fetched("none", "navigate", "document"), path="/"),
    "a link followed": sent("GET", HOST, *fetched("cross-site", "navigate", "document"), path="/runs"),
}  # fmt: skip
KEPT_OUT = {
    "a name that was made to point here": sent("GET", ("host", "rebound.test:4200")),
    "a name that begins like ours": sent("GET", ("host", "127.0.0.1.rebound.test")),
    "a name below ours": sent("GET", ("host", "x.localhost:4200")),
    "the address of all interfaces": sent("GET", ("host", "0.0.0.0:4200")),
    "no name": sent("GET"),
    "an empty name": sent("GET", ("host", "")),
    "two names": sent("GET", HOST, ("host", "rebound.test")),
    "a foreign page": sent("GET", HOST, ("origin", "http://attacker.test")),
    "a page of another port": sent("GET", HOST, ("origin", "http://127.0.0.1:8888")),
    "a page by another of our names": sent("GET", HOST, ("origin", "http://localhost:4200")),
    "a page without an origin": sent("GET", HOST, ("origin", "null")),
    "a file": sent("GET", HOST, ("origin", "file://")),
    "an extension": sent("GET", HOST, ("origin", "moz-extension://127.0.0.1:4200")),
    "two origins": sent("GET", HOST, ORIGIN, ("origin", "http://attacker.test")),
    "a foreign page asks beforehand": sent("OPTIONS", HOST, ("origin", "http://attacker.test")),
    "a foreign page's picture": sent("GET", HOST, *fetched("cross-site", "no-cors", "image")),
    "a picture of another port's page": sent("GET", HOST, *fetched("same-site", "no-cors", "image")),
    "a foreign page's frame": sent("GET", HOST, *fetched("cross-site", "navigate", "iframe"), path="/"),
    "a foreign page's form": sent("POST", HOST, *fetched("cross-site", "navigate", "document"), path="/"),
    "a link to the API": sent("GET", HOST, *fetched("cross-site", "navigate", "document")),
    "a link to the API itself": sent("GET", HOST, *fetched("cross-site", "navigate", "document"), path="/api"),
    "a body without a type": sent("POST", HOST, BODY),
    "a body without a type in pieces": sent("POST", HOST, ("transfer-encoding", "chunked")),
    "a body of a type that needs no leave": sent("POST", HOST, BODY, ("content-type", "text/plain")),
    "a body that names JSON in passing": sent("PUT", HOST, BODY, ("content-type", "text/plain; application/json")),
}  # fmt: skip


@pytest.mark.parametrize("name", LET_IN)
def test_who_belongs_here_gets_in(name: str) -> None:
    """Programs of this machine, the server's own pages, and links that a person follows are answered."""
    assert RULES.refusal(LET_IN[name]) == ""


@pytest.mark.parametrize("name", KEPT_OUT)
def test_who_does_not_is_refused(name: str) -> None:
    """Foreign names, foreign pages and bodies of undeclared kind are refused with a reason."""
    assert RULES.refusal(KEPT_OUT[name])


def test_a_proxy_has_its_name() -> None:
    """A name that was allowed may be the host and the origin, by whatever port, and no other is."""
    rules = Rules(frozenset({"team.test"}), unlinked="/api")
    own = ("origin", "https://team.test")
    assert not rules.refusal(sent("GET", ("host", "team.test"), own))
    assert not rules.refusal(sent("GET", HOST, own))
    assert rules.refusal(sent("GET", HOST, ("origin", "https://other.test")))
    assert rules.refusal(sent("GET", ("host", "other.test"), own))


def test_links_may_lead_anywhere_where_nothing_is_held_back() -> None:
    """Without a prefix that is held back, a link may open every page, and a frame still none."""
    link = sent("GET", HOST, *fetched("same-site", "navigate", "document"))
    frame = sent("GET", HOST, *fetched("same-site", "navigate", "iframe"))
    assert Rules().refusal(link) == "" and Rules().refusal(frame)


async def _answering(scope: Message, receive: Receive, send: Send) -> None:
    """An application that lets everybody in."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"SAMEORIGIN")]})
        await send({"type": "http.response.body", "body": b"let in"})
    else:
        await send({"type": "lifespan.startup.complete"})


def answers(kind: str, *headers: tuple[str, str], ours_alone: bool = False) -> list[Message]:
    """What a guarded application sends."""
    reported: list[Message] = []
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope: dict[str, Any] = {"type": kind, "method": "GET", "path": "/api/events/out", "headers": raw}
    scope |= {"client": ("127.0.0.1", 9), "server": ("127.0.0.1", 9)}  # a connection that does not exist

    async def send(message: Message) -> None:
        reported.append(message)

    async def receive() -> Message:
        return {}

    asyncio.run(Guard(_answering, RULES, ours_alone=ours_alone)(scope, receive, send))
    return reported


def test_a_refused_request_gets_the_reason() -> None:
    """The application hears nothing of it; the answer is 403 and says why."""
    start, body = answers("http", ("host", "rebound.test"))
    assert start["status"] == 403 and b"rebound.test" in body["body"]


def test_a_foreign_websocket_is_closed_before_it_is_open() -> None:
    """A handshake with a foreign origin is refused, and one without is accepted."""
    (closed,) = answers("websocket", HOST, ("origin", "http://attacker.test"))
    assert closed["type"] == "websocket.close" and closed["code"] == 1008 and len(closed["reason"].encode()) <= 123
    assert [message["type"] for message in answers("websocket", HOST)] == ["websocket.accept"]


def test_every_answer_forbids_frames_and_foreign_content() -> None:
    """The guard's headers come with every answer, and those of the application stay."""
    start, _ = answers("http", HOST)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers == {**PAGE_HEADERS, "x-frame-options": "SAMEORIGIN"}
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_life_of_the_application_is_not_guarded() -> None:
    """Messages that are no requests pass."""
    assert answers("lifespan", ours_alone=True) == [{"type": "lifespan.startup.complete"}]


def test_a_connection_that_nobody_has_is_refused() -> None:
    """Where only this user's programs are answered, a connection that the kernel does not know is not."""
    start, body = answers("http", HOST, ours_alone=True)
    assert start["status"] == 403 and b"--password" in body["body"]


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   0: {client} {server} {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0\n"
OURS, OTHERS = os.geteuid(), os.geteuid() + 1
SOCKETS = {
    "this user's": (True, {"uid": OURS}),
    "the administrator's": (True, {"uid": 0}),
    "another user's": (False, {"uid": OTHERS}),
    "closed by its owner, which makes it look like the administrator's": (False, {"uid": 0, "state": "06", "inode": 0}),
    "closed but for the last bytes": (False, {"uid": 0, "state": "01", "inode": 0}),
    "another connection's": (False, {"uid": OURS, "client": "0100007F:9999"}),
    "the other way round": (False, {"uid": OURS, "client": "0100007F:1068", "server": "0100007F:D431"}),
}


@pytest.mark.skipif(sys.byteorder != "little", reason="the planted table is of a little-endian machine")
@pytest.mark.parametrize("name", SOCKETS)
def test_the_owner_of_a_socket_is_read_from_the_kernels_table(tmp_path: Path, name: str) -> None:
    """Only an open connection of this user, or of the administrator, counts as this user's."""
    sound, fields = SOCKETS[name]
    line = {"client": "0100007F:D431", "server": "0100007F:1068", "state": "01", "inode": 4711, **fields}
    table = tmp_path / "tcp"
    table.write_text(HEAD + LINE.format(**line))
    ends = ("127.0.0.1", 0xD431), ("127.0.0.1", 4200)
    assert is_of_this_user(*ends, tables=[table]) is sound
    mapped = tmp_path / "tcp6"
    wide = {key: f"0000000000000000FFFF0000{line[key]}" for key in ("client", "server")}
    mapped.write_text(HEAD + LINE.format(**{**line, **wide}))
    assert is_of_this_user(*ends, tables=[mapped]) is sound


def test_without_the_kernels_table_nobody_is_distinguished(tmp_path: Path) -> None:
    """A system that does not say whose a connection is lets all of this machine's programs in."""
    assert is_of_this_user(("127.0.0.1", 1), ("127.0.0.1", 2), tables=[tmp_path / "absent"])


def connect(port: int, user: int) -> int:
    """Connect as a user, in a process that stays; its number."""
    child = os.fork()
    if child:
        return child
    try:
        os.setuid(user)
        with socket.socket() as client:
            client.connect(("127.0.0.1", port))
            signal.pause()
    finally:
        os._exit(1)  # never back into the tests


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator can connect as somebody else")
@pytest.mark.parametrize(("user", "sound"), [(0, True), (65534, False)])
def test_another_users_program_is_distinguished_by_a_real_connection(user: int, sound: bool) -> None:
    """A connection made by a process of another user is seen as such, and one of ours as ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        child = connect(server.getsockname()[1], user)
        connection, client = server.accept()
        try:
            with connection:
                assert is_of_this_user(client, connection.getsockname()) is sound
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
