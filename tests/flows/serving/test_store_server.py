"""The server of a store is found by its address and its lock, and its password is kept for those who may have it."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tag2mask.flows.run import chosen
from tag2mask.flows.serving import store_server
from tag2mask.flows.serving.store_server import (
    API_URL,
    CLIENT_PASSWORD,
    LOCK,
    NoServer,
    announce,
    announced,
    find_server,
    make_password,
    named_in_profile,
    password_file,
    password_of,
)
from tag2mask.tasks.store.store import Store
from tests.flows.prefect_api import free_port


@pytest.fixture(autouse=True)
def _no_server_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no server; what is set by a test goes with it."""
    for name in (API_URL, CLIENT_PASSWORD):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def server_of(root: Path, status: int = 200, *, delay: float = 0.0) -> Iterator[str]:
    """A server of a store that answers with a status; its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"

    def listen() -> None:
        time.sleep(delay)
        with HTTPServer(("127.0.0.1", port), _Healthy) as listening:
            listening.status = status  # type: ignore[attr-defined]
            listening.timeout = 0.1
            while not over.is_set():
                listening.handle_request()

    over, thread = threading.Event(), threading.Thread(target=listen)
    with Store(root).lock(LOCK, wait=False):
        announce(root, address)
        thread.start()
        try:
            yield address
        finally:
            over.set()
            thread.join()


def test_a_server_that_runs_is_found_and_one_that_ended_is_not(tmp_path: Path) -> None:
    """The address counts while its lock is held, and a later look at what is left of it asks nobody."""
    assert announced(tmp_path) is None
    with server_of(tmp_path) as address:
        assert announced(tmp_path) == address
    assert announced(tmp_path) is None


@pytest.mark.parametrize("left", ["", "{", "[]", '{"port": 1}'])
def test_a_spoilt_address_is_none(tmp_path: Path, left: str) -> None:
    """What is left of a server that cannot be read counts as no server."""
    with server_of(tmp_path):
        (tmp_path / ".server" / "address.json").write_text(left)
        assert announced(tmp_path) is None


def test_a_run_takes_prefect_where_the_store_has_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word a run uses the store's server, whose address and password Prefect then knows, and else none."""
    words = make_password(tmp_path)
    assert chosen("auto", tmp_path) == "local" and chosen("prefect", tmp_path) == "prefect"
    with server_of(tmp_path) as address:
        assert chosen("local", tmp_path) == "local" and API_URL not in store_server.os.environ
        assert chosen("auto", tmp_path) == "prefect"
        assert store_server.os.environ[API_URL] == address and store_server.os.environ[CLIENT_PASSWORD] == words
        assert chosen("auto", tmp_path / "other") == "prefect"  # processes of this one know it, too
    monkeypatch.delenv(API_URL)
    assert chosen("auto", tmp_path) == "local"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://team.test/api"', "http://team.test/api"),
        ('active = "own"\n[profiles.own]\n[profiles.team]\nPREFECT_API_URL = "http://team.test/api"', None),
        ("active = ", None),
        ("profiles = 1", None),
    ],
)
def test_the_active_profile_of_prefect_may_name_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, found: str | None
) -> None:
    """A server of the user's profile is known, and another profile's or a spoilt file's is none."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert named_in_profile() is None
    (tmp_path / "profiles.toml").write_text(written)
    assert named_in_profile() == found


def test_what_the_environment_names_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server that the environment names is taken, and does not get this store's password."""
    make_password(tmp_path)
    monkeypatch.setenv(API_URL, "http://team.test/api")
    with server_of(tmp_path):
        assert find_server(tmp_path) == "http://team.test/api"
    assert CLIENT_PASSWORD not in store_server.os.environ


def test_a_server_that_is_starting_is_waited_for(tmp_path: Path) -> None:
    """A server that holds its lock and does not listen yet is asked again."""
    with server_of(tmp_path, delay=0.5) as address:
        assert find_server(tmp_path) == address


def test_a_server_of_another_machine_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a store that machines share, another one's server, which listens there alone, is named and left alone."""
    with server_of(tmp_path) as address:
        assert find_server(tmp_path) == address
        monkeypatch.delenv(API_URL)
        monkeypatch.setattr(store_server.platform, "node", lambda: "another")
        assert find_server(tmp_path) is None and API_URL not in os.environ
    assert "listens there alone" in caplog.text


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers wrongly, or never, is an error with its address and what to do."""
    with server_of(tmp_path, status=500) as address, pytest.raises(NoServer, match=f"{address} answers 500"):
        find_server(tmp_path)
    monkeypatch.setattr(store_server, "START_SECONDS", 0.2)
    with server_of(tmp_path, delay=1.0), pytest.raises(NoServer, match="--engine local"):
        find_server(tmp_path)


def test_the_password_is_the_owners_and_stays(tmp_path: Path) -> None:
    """It is long, nobody else may read it, it is the same the next time, and an empty file holds none."""
    assert password_of(tmp_path) is None
    words = make_password(tmp_path)
    assert words.startswith("tag2mask:") and len(words) > 40
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
    password_file(tmp_path).chmod(0o644)
    assert make_password(tmp_path) == words == password_of(tmp_path)
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
    password_file(tmp_path).write_text("\n")
    assert password_of(tmp_path) is None and make_password(tmp_path) != words
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
