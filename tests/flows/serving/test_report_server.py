"""The reports' own small server shows reports and nothing else."""

import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tag2mask.flows.serving import report_server
from tag2mask.flows.serving.report_server import serve_reports

KEY = "0123456789abcdef0123"


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A server with one report."""
    folder = tmp_path / "render_report" / KEY
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<!DOCTYPE html>shown")
    (folder / "manifest.json").write_text("{}")
    (tmp_path / "secret.html").write_text("hidden")
    return serve_reports(tmp_path, 0)


def test_another_user_s_program_gets_no_word(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are closed before anything is read, and before a thread is made for them."""
    monkeypatch.setattr(report_server, "is_of_this_user", lambda *_: False)
    threads = threading.active_count()
    port = int(address.rpartition(":")[2])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as idle:
            assert idle.recv(1) == b""
    assert threading.active_count() <= threads


def test_who_says_nothing_is_hung_up_on(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a request ends by itself."""
    monkeypatch.setattr(report_server._Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5) as idle:
        assert idle.recv(1) == b""


def test_a_report_is_shown(address: str) -> None:
    """A report's page comes as HTML."""
    with urllib.request.urlopen(f"{address}/{KEY}/report.html", timeout=5) as page:
        assert page.headers["Content-Type"].startswith("text/html") and page.read() == b"<!DOCTYPE html>shown"


def test_it_listens_on_the_loopback_alone(address: str) -> None:
    """No other address of this machine, of which 127.0.0.2 is one, is listened to."""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", int(address.rpartition(":")[2])), timeout=5).close()


@pytest.mark.parametrize(
    "path", ["/", f"/{KEY}/manifest.json", f"/{KEY}/../../secret.html", "/../secret.html", f"/{KEY}/%2e%2e/secret.html"]
)
def test_nothing_else_is(address: str, path: str) -> None:
    """No other file of the store can be had."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address + path, timeout=5)
    assert refused.value.code == 404
