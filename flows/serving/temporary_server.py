"""A Prefect server for the time of one run, where none is running: guarded like the other, and nobody else's.

Prefect would start one itself, but not before its client has loaded all of the server's code, too; this one starts
while the client is still loading, and the client knows nothing but its address.  Its runs stay in the database that
`tag2mask server` of the store shows.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tag2mask.flows.serving.settings import (
    SERVER_ADDRESS,
    TEMPORARY,
    server_variables,
    set_prefect_defaults,
    uvicorn_arguments,
)
from tag2mask.flows.serving.store_server import (
    API_URL,
    CLIENT_PASSWORD,
    SERVER_PASSWORD,
    NoServer,
    answers,
)

START_SECONDS = 300.0
"""Longest time for the start, on a busy machine with a database to make."""
SEND_SECONDS = 10.0
"""Longest time for what the client has yet to send."""
END_SECONDS = 20.0
"""Longest time for an orderly end."""


@contextmanager
def temporary_server(root: Path) -> Iterator["TemporaryServer"]:
    """A server in a process of its own, whose address and password the environment has; it ends with the block.

    Args:
        root: folder of the store, in which its database lies unless the environment names another place.
    """
    os.environ.setdefault("PREFECT_HOME", str((root / ".prefect").absolute()))
    set_prefect_defaults()
    server = TemporaryServer(root)
    try:
        yield server
    finally:
        _send_what_waits()
        server.end()


class TemporaryServer:
    """The server's process.  It ends when this process does, however that ends: its input is a pipe from here."""

    def __init__(self, root: Path) -> None:
        host, port = SERVER_ADDRESS[0], _free_port()
        self.address, words = f"http://{host}:{port}/api", f"tag2mask:{secrets.token_urlsafe(24)}"
        os.environ |= {API_URL: self.address, CLIENT_PASSWORD: words}
        environment = {**os.environ, **server_variables(root, self.address, ()), SERVER_PASSWORD: words, TEMPORARY: "1"}
        command = [sys.executable, *uvicorn_arguments(host, port)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            NoServer: it ended, or does not answer.
        """
        until = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            try:
                return answers(self.address)
            except OSError:
                time.sleep(0.2)
        raise NoServer("Prefect's server could not be started for this run: leave it out with --engine local")

    def end(self) -> None:
        """End it, in order if it can, and forget its address."""
        for name in (API_URL, CLIENT_PASSWORD):
            os.environ.pop(name, None)
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _send_what_waits() -> None:
    """Let Prefect's client, if it was used, send its events and log lines while there is somebody to take them."""
    if "prefect.flow_engine" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=SEND_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((SERVER_ADDRESS[0], 0))
        port: int = probe.getsockname()[1]
        return port
