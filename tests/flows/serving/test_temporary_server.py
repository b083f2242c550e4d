"""A server for one run: known by the environment while it is there, and gone with the run, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tag2mask.flows.serving import temporary_server as module
from tag2mask.flows.serving.store_server import API_URL, CLIENT_PASSWORD, SERVER_PASSWORD, NoServer
from tag2mask.flows.serving.temporary_server import temporary_server

LISTEN = """
import os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def end():
    while os.read(0, 10): pass
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def _small_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that answers in place of Prefect's, and an environment that names no server."""
    monkeypatch.setattr(module, "uvicorn_arguments", lambda host, port: ["-c", LISTEN, str(port)])
    monkeypatch.setattr(os, "environ", {n: v for n, v in os.environ.items() if not n.startswith("PREFECT_")})


def test_it_is_there_for_the_run_and_gone_after_it(tmp_path: Path) -> None:
    """The environment names it and its password while it is there, and neither afterwards."""
    with temporary_server(tmp_path) as server:
        server.wait()
        assert os.environ[API_URL] == server.address and os.environ[CLIENT_PASSWORD].startswith("tag2mask:")
        assert SERVER_PASSWORD not in os.environ and os.environ["PREFECT_HOME"] == str(tmp_path / ".prefect")
    assert server.process.returncode == 0
    assert API_URL not in os.environ and CLIENT_PASSWORD not in os.environ


def test_it_goes_with_a_run_that_fails(tmp_path: Path) -> None:
    """An interruption ends it, too."""
    with pytest.raises(KeyboardInterrupt), temporary_server(tmp_path) as server:
        server.wait()
        raise KeyboardInterrupt
    assert server.process.returncode == 0


def test_one_that_does_not_start_is_an_error_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends at once is not waited for."""
    monkeypatch.setattr(module, "uvicorn_arguments", lambda host, port: ["-c", "raise SystemExit(3)"])
    with temporary_server(tmp_path) as server, pytest.raises(NoServer, match="--engine local"):
        server.wait()


def test_it_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    """A run that has no time to end its server takes it along: the pipe between them closes."""
    script = f"""
import time
from pathlib import Path
from tag2mask.flows.serving import temporary_server as module
module.uvicorn_arguments = lambda host, port: ["-c", {LISTEN!r}, str(port)]
with module.temporary_server(Path({str(tmp_path)!r})) as server:
    server.wait()
    print(server.process.pid, flush=True)
    time.sleep(600)
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    process = int(run.stdout.readline())
    run.send_signal(signal.SIGKILL)
    run.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{process}/cmdline").exists() and time.monotonic() < until:
        if not Path(f"/proc/{process}/cmdline").read_bytes():
            break  # ended, and nobody has asked how
        time.sleep(0.05)
    else:
        assert time.monotonic() < until
