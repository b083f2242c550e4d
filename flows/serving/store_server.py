"""The Prefect server of a store: where it listens and its password, left in the store for `serve` and `run`.

<root>/.server/address.json     where it listens, and the machine; it counts as long as somebody holds the lock `server`
<root>/.server/password         its auth string, `tag2mask:…`, readable by its owner alone
"""

import json
import logging
import os
import platform
import secrets
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.store import Store

LOCK = "server"
"""The store's lock that a server holds until it ends, however it ends."""
API_URL, CLIENT_PASSWORD, SERVER_PASSWORD = (
    "PREFECT_API_URL",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
)
START_SECONDS = 120.0
"""Longest time that is waited for a server which is just starting."""
logger = logging.getLogger(__name__)


class NoServer(UserError, RuntimeError):
    """No Prefect server answers; the message says how to start one."""


def _folder(root: Path) -> Path:
    return root / ".server"


def password_file(root: Path) -> Path:
    """Where the password of a store's server is kept."""
    return _folder(root) / "password"


def password_of(root: Path) -> str | None:
    """The auth string of a store's server, None where it has none."""
    try:
        return password_file(root).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def make_password(root: Path) -> str:
    """The auth string of a store's server, made unless it is there; nobody but its owner may read the file."""
    known = password_of(root)
    if known is not None:
        password_file(root).chmod(0o600)
        return known
    made = f"tag2mask:{secrets.token_urlsafe(24)}"
    _folder(root).mkdir(parents=True, exist_ok=True)
    password_file(root).unlink(missing_ok=True)  # an empty one, whose mode would stay
    file = os.open(password_file(root), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(f"{made}\n")
    return made


def announce(root: Path, address: str) -> None:
    """Leave the address of a server in its store; the caller holds the lock `server` as long as it runs."""
    _folder(root).mkdir(parents=True, exist_ok=True)
    write_json(_folder(root) / "address.json", {"address": address, "machine": platform.node()})


def announced(root: Path) -> str | None:
    """Address of the API of a store's server that runs or is just starting, None where there is none.

    Nothing is asked over the network: the kernel gives back the lock of a server that is gone.
    """
    if not (_folder(root) / "address.json").is_file():
        return None
    try:
        with Store(root).lock(LOCK, shared=True, wait=False):
            return None
    except BlockingIOError:
        return _announced(root, "address")


def _announced(root: Path, what: str) -> str | None:
    """The `address` or the `machine` that the last server of a store left; None where that cannot be read."""
    try:
        content: Any = json.loads((_folder(root) / "address.json").read_text(encoding="utf-8"))
        return str(content[what])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_server(root: Path) -> str | None:
    """Let Prefect's client talk to the server that the environment names, or else to the one of a store.

    Sets the variables that Prefect reads, so that processes of this one know the server, too.

    Returns:
        The API's address; None where the environment names none and no server of the store runs on this machine: one
        of another machine listens there alone, which is logged.

    Raises:
        NoServer: the store's server runs, but does not answer.
    """
    named, own = os.environ.get(API_URL), announced(root)
    if own is None or named not in (None, own):
        return named
    machine = _announced(root, "machine")
    if machine not in (None, platform.node()):
        logger.warning("the server of the store runs on %s and listens there alone: it is not asked from here", machine)
        return named
    _wait_for(own)
    os.environ[API_URL] = own
    password = password_of(root)
    if password is not None:
        os.environ.setdefault(CLIENT_PASSWORD, password)
    return own


def named_in_profile() -> str | None:
    """Address of the API that the active Prefect profile names; Prefect, which is slow to load, is not asked."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    try:
        content = tomllib.loads(
            Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).read_text("utf-8")
        )
        active = os.environ.get("PREFECT_PROFILE", content.get("active"))
        named = content["profiles"][active].get(API_URL)
        return str(named) if named else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none, or one that Prefect says something about itself


def answers(address: str, seconds: float = 10.0) -> None:
    """Ask an API whether it is there.

    Raises:
        OSError, ValueError: it does not answer; `urllib.error.URLError` is among them.
    """
    with urllib.request.urlopen(f"{address}/health", timeout=seconds):
        return


def _wait_for(address: str) -> None:
    """Wait for a server that holds its lock and may still be starting."""
    until, said = time.monotonic() + START_SECONDS, False
    while True:
        try:
            return answers(address)
        except urllib.error.HTTPError as error:
            raise NoServer(
                f"the server of the store at {address} answers {error.code} {error.reason}: is it another user's? "
                "leave it out with --engine local"
            ) from error
        except OSError as error:
            if time.monotonic() > until:
                raise NoServer(
                    f"the server of the store at {address} does not answer ({error}): stop it and start it again, "
                    "or leave it out with --engine local"
                ) from error
        if not said:
            logger.warning("waiting for the server of the store at %s, which is starting", address)
            said = True
        time.sleep(0.1)
