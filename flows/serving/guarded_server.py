"""Prefect's server behind our guard, as `tag2mask server` starts it: `uvicorn --factory …:guarded_server`."""

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect.server.api.server import create_app

from tag2mask.flows.serving.guard import Guard, Rules
from tag2mask.flows.serving.settings import SERVER_NAMES, SERVER_STORE, SERVER_URL, TEMPORARY
from tag2mask.flows.serving.store_server import LOCK, SERVER_PASSWORD, announce
from tag2mask.tasks.store.store import Store

API_PATH = "/api"
LOOK_SECONDS = 2.0
"""Longest time that a look at the lock takes."""
_alive = ExitStack()
"""The store's lock; the kernel gives it back when this process ends."""


def guarded_server() -> Guard:
    """The application, announced in its store unless it belongs to one run.

    Raises:
        BlockingIOError: the store has a server already.
    """
    if os.environ.get(TEMPORARY):
        threading.Thread(target=_end_with_input, daemon=True).start()
        return guarded(create_app(ephemeral=True, final=True))
    root = Path(os.environ[SERVER_STORE])
    _hold_lock(Store(root))
    announce(root, os.environ[SERVER_URL])
    return guarded(create_app(final=True))


def _end_with_input() -> None:
    """End in order when the process that started this one has closed the pipe to it, or is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _hold_lock(store: Store) -> None:
    """Hold the lock of the store's server; whoever only looks whether there is one has it for a moment."""
    until = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            return _alive.enter_context(store.lock(LOCK, wait=False))
        except BlockingIOError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


def guarded(app: Any) -> Guard:
    """An application of Prefect's behind the guard; without an auth string no other user's program is answered."""
    names = frozenset(filter(None, os.environ.get(SERVER_NAMES, "").lower().split(",")))
    return Guard(app, Rules(names, unlinked=API_PATH), ours_alone=not os.environ.get(SERVER_PASSWORD))
