"""Locks between processes that die with their holder, and the error of a folder that cannot be written to."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tag2mask.configs.errors import UserError

_held: set[int] = set()  # descriptors of the locks that this process holds


class StoreNotWritable(UserError, RuntimeError):
    """A folder that a command writes to, most often the store's, cannot be written to."""


def _let_go() -> None:
    """Close, in a forked worker, the locks of its parent: it may outlive the parent, and would keep them for ever."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def hold(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, against other processes and other threads of this one.

    Args:
        path: the lock's file; never deleted, since somebody may be waiting for it.
        shared: several may hold it, as long as nobody holds it alone.
        wait: wait for the others.

    Raises:
        BlockingIOError: somebody else holds it and `wait` is off.
        StoreNotWritable: the file cannot be made.
    """
    with read_only_as_error(path.parent.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(file)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        if file in _held:  # not in a forked child, which has let go of it
            _held.remove(file)
            os.close(file)


@contextmanager
def read_only_as_error(root: Path, what: str = "artifact folder", option: str = "--root") -> Iterator[None]:
    """Turn the system's refusal to write into an error that names the folder, and the option that names another one.

    Raises:
        StoreNotWritable: something below the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise
        raise StoreNotWritable(
            f"the {what} {root} cannot be written to ({error}): make it writable, or name another one with {option}"
        ) from error
