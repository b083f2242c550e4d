"""Whether a worker can stand in for the process that hands out the shards: same code, libraries, and store by path."""

import hashlib
import os
import platform
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.journal import RESUME

LIBRARIES = ("tag2mask", "torch", "torchvision", "timm", "numpy", "scipy", "pandas", "pillow", "scikit-image")
"""Packages that decide the bytes of a result."""
CODE = Path(__file__).parents[2]
FOLDERS = ("configs", "models", "tasks")
SEEN = "seen-"


class UnlikeWorker(UserError, RuntimeError):
    """A worker cannot do what this process would do; the message names both."""


@dataclass(frozen=True)
class Origin:
    """Who hands out the shards, and what a worker must see."""

    host: str
    versions: tuple[tuple[str, str], ...]
    """(package, its release)."""
    token: Path
    """A file in the stage's folder that exists as long as the stage runs."""
    inputs: tuple[Path, ...]
    """Files and folders that the work reads."""


@contextmanager
def origin(out: Path, inputs: tuple[Path, ...]) -> Iterator[Origin]:
    """Put down in a stage's folder what workers look for.

    Args:
        out: the stage's folder.
        inputs: what the work reads.
    """
    token = out.absolute() / RESUME / f"{SEEN}{secrets.token_hex(8)}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.write_text(token.name)
    try:
        yield Origin(socket.gethostname(), tuple(versions().items()), token, inputs)
    finally:
        token.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Releases of what decides the bytes of a result, in this process."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**found, "tag2mask's code": _code_digest()}


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Of the source files: a checkout may be ahead of its release."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in FOLDERS for path in (CODE / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(CODE).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=8)
def fault_of_this_process(seen: Origin) -> str:
    """What keeps this process, a worker, from working for another one; "" if nothing does."""
    mine = versions()
    other = [
        f"{name} {mine.get(name, 'none')} (not {given})" for name, given in seen.versions if mine.get(name) != given
    ]
    if other:
        return f"is not of the release of {seen.host}: it has {', '.join(other)}; install the same on both"
    folder = seen.token.parents[1]
    if not seen.token.is_file():
        what = "another folder at" if folder.is_dir() else "no"
        return f"sees {what} {folder}, where {seen.host} keeps its results: mount the same folder there under that path"
    if not os.access(seen.token.parent, os.W_OK):
        return f"may not write to {folder}"
    missing = [str(path) for path in seen.inputs if not path.exists()]
    if missing:
        return f"sees no {', '.join(missing)}, which {seen.host} reads: mount it there under the same path"
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        return "was started without OPENBLAS_NUM_THREADS=1: set it, as Dask's nanny does, or sums depend on its cores"
    return ""


def check_this_process(seen: Origin) -> None:
    """Refuse to work in a process, a worker, that is no fellow.

    Raises:
        UnlikeWorker: it has other code or libraries, or does not see the store or an input.
    """
    if fault := fault_of_this_process(seen):
        raise UnlikeWorker(f"the worker {socket.gethostname()}:{os.getpid()} {fault}")
