"""Content digests of files and folders, remembered by what the file system says of them.

Hashing a large dataset at every start would cost more than everything else a cached run does.  A file's SHA-256 is
remembered under its size, inode, modification and change time; the last one is set by the kernel and cannot be put
back, so replacing a file by another of the same size and modification time is noticed.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

RACY_NANOSECONDS = 2_000_000_000
"""A file changed this shortly before it was hashed is not remembered: a second change could carry the same time."""

Signature = tuple[int, int, int, int]
"""Size in bytes, inode, modification time and change time in nanoseconds."""
Answer = TypeVar("Answer")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no blanks), as hex.

    Raises:
        ValueError: it holds a number that JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """All regular files below a folder, sorted by relative path, without hidden ones.

    Links are followed: a dataset whose images lie elsewhere is what it points to.  A link without a target is left
    out.
    """
    yield from sorted(_walk(folder, frozenset()))


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    stat = os.stat(folder)
    identity = (stat.st_dev, stat.st_ino)
    if identity in above:
        return  # a link back to a folder that we are in
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), above | {identity})
            elif entry.is_file():
                yield Path(entry.path)


class DigestMemory:
    """Digests of files, kept in an SQLite file that several processes may share.

    Losing, damaging or deleting the file costs time, never correctness; nor is it an error that it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def of_files(self, files: Mapping[str, Path], *, homes: Mapping[str, Path] | None = None) -> dict[str, str]:
        """Digest of each named file; only files whose signature changed since the last time are read.

        Args:
            files: name -> file.
            homes: name -> where the file will stand after a rename of its folder, to be remembered there instead.

        Raises:
            FileNotFoundError: a file does not exist.
        """
        known = self._recall([os.fsencode(path.absolute()) for path in files.values()])
        result, learned = {}, []
        for name, path in files.items():
            signature, now = _signature(path), time.time_ns()  # before the reading: a change during it is noticed
            remembered = known.get(os.fsencode(path.absolute()))
            if remembered is not None and remembered[0] == signature:
                result[name] = remembered[1]
                continue
            result[name] = file_digest(path)
            if now - signature[3] > RACY_NANOSECONDS:
                learned.append((os.fsencode((homes or files)[name].absolute()), *signature, result[name]))
        if learned:
            insert = "insert or replace into files values (?, ?, ?, ?, ?, ?)"
            self._use(lambda memory: memory.executemany(insert, learned))
        return result

    def of_path(self, path: Path) -> str:
        """Digest of a file's bytes, or of all names and bytes below a folder.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if path.is_dir():
            files = {file.relative_to(path).as_posix(): file for file in files_below(path)}
            return json_digest(self.of_files(files))
        return self.of_files({"": path})[""]

    def forget(self, folder: Path) -> None:
        """Drop what is remembered of files below a folder that is gone."""
        prefix = os.fsencode(folder.absolute())
        bounds = (prefix + b"/", prefix + b"0")  # "0" follows "/": all that starts with the folder's name and a slash
        self._use(lambda memory: memory.execute("delete from files where path >= ? and path < ?", bounds))

    def _recall(self, paths: list[bytes]) -> dict[bytes, tuple[Signature, str]]:
        def look_up(memory: sqlite3.Connection) -> dict[bytes, tuple[Signature, str]]:
            found = {}
            for path in paths:
                row = memory.execute("select * from files where path = ?", (path,)).fetchone()
                if row is not None:
                    found[path] = (tuple(row[1:5]), row[5])
            return found

        return self._use(look_up) or {}

    def _use(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """Work on the database; None where it cannot be used.  A broken one is deleted, to be begun anew."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60.0)) as memory, memory:
                memory.execute(
                    "create table if not exists files (path blob primary key, size int, inode int, modified int, "
                    "changed int, digest text)"
                )
                return work(memory)
        except sqlite3.OperationalError:
            return None  # full, read-only, or locked for a minute
        except sqlite3.DatabaseError:
            with suppress(OSError):
                self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
            return None


def _signature(path: Path) -> Signature:
    stat = os.stat(path)
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns
