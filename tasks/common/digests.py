"""Content digests of files and folders, remembered by what the file system says of them.

Hashing a large dataset at every start would cost more than everything else a cached run does.  A file's SHA-256 is
remembered under its size, inode, modification and change time; the last one is set by the kernel and cannot be put back, so
replacing a file by another of the same size and modification time is noticed.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

RACY_NANOSECONDS = 2_000_000_000
"""A file changed this shortly before it was hashed is not remembered: a second change could carry the same time."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no blanks), as hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """All regular files below a folder, sorted by relative path, without hidden ones."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


class DigestMemory:
    """Digests of files, kept in an SQLite file that several processes may share.

    Losing or deleting the file costs time, never correctness.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        with self._connect() as connection:
            connection.execute(
                "create table if not exists digests (path text primary key, size int, inode int, modified int, "
                "changed int, digest text)"
            )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=60.0)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def of_files(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Digest of each named file; only files whose signature changed since the last time are read.

        Raises:
            FileNotFoundError: a file does not exist.
        """
        with self._connect() as connection:
            known = {}
            for name, path in files.items():
                row = connection.execute("select * from digests where path = ?", (str(path.absolute()),)).fetchone()
                known[name] = row[1:] if row else None
        result, learned = {}, []
        for name, path in files.items():
            stat = os.stat(path)
            signature = (stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
            row = known[name]
            if row is not None and row[:4] == signature:
                result[name] = row[4]
                continue
            started = time.time_ns()
            result[name] = file_digest(path)
            if started - stat.st_ctime_ns > RACY_NANOSECONDS:
                learned.append((str(path.absolute()), *signature, result[name]))
        if learned:
            with self._connect() as connection:
                connection.executemany("insert or replace into digests values (?, ?, ?, ?, ?, ?)", learned)
        return result

    def of_path(self, path: Path) -> str:
        """Digest of a file's bytes, or of all names and bytes below a folder."""
        if path.is_dir():
            files = {file.relative_to(path).as_posix(): file for file in files_below(path)}
            return json_digest(self.of_files(files))
        return self.of_files({"": path})[""]

    def forget(self, folder: Path) -> None:
        """Drop what is remembered of files below a folder that is gone."""
        with self._connect() as connection:
            connection.execute("delete from digests where path like ? escape '!'", (_like(folder) + "/%",))


def _like(folder: Path) -> str:
    text = str(folder.absolute())
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
