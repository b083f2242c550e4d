"""Content digests of files and folders, remembered by what the file system says of them.

Hashing a large dataset at every start would cost more than everything else a cached run does.  A file's SHA-256 is
remembered under its device, inode, size, modification and change time; the last one is set by the kernel and cannot be
put back, so replacing a file by another of the same size and modification time is noticed.  All names of a file (hard
links) share what is remembered of it, wherever it is moved.
"""

import errno
import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, TypeVar

RACY_NANOSECONDS = 2_000_000_000
"""A file changed this shortly before it was hashed is not remembered: a second change could carry the same time."""
OWN_RACY_NANOSECONDS = 100_000_000
"""The same for files that nobody but us writes, on a file system whose times are finer than a millisecond."""
AT_ONCE = 500
"""Files looked up in one question."""
LARGEST = 2**63 - 1
"""Of the integers of SQLite; there are file systems with larger inode numbers."""
Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Signature(NamedTuple):
    """What the file system says of a file's content."""

    device: int
    inode: int
    size: int
    """In bytes."""
    modified: int
    """In nanoseconds since the epoch."""
    changed: int
    """In nanoseconds since the epoch."""

    @classmethod
    def of(cls, path: str | Path) -> "Signature":
        """That of a file now.

        Raises:
            FileNotFoundError: it does not exist.
            OSError: it is a folder or a pipe.
        """
        stat = os.stat(path)
        if not S_ISREG(stat.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
        return cls(stat.st_dev, stat.st_ino & LARGEST, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def still(self, after: "Signature") -> bool:
        """Whether the content is still that of this signature, after a further name was given to the file.

        That changes the change time alone.  Where the content itself was changed a moment ago nothing is said.
        """
        return self[:4] == after[:4] and after.changed - after.modified > RACY_NANOSECONDS

    def settled(self, now: int) -> bool:
        """Whether a later change of a file that nobody but us writes would show, seen at a time in nanoseconds."""
        fine = self.changed % 1_000_000 != 0
        return now - self.changed > (OWN_RACY_NANOSECONDS if fine else RACY_NANOSECONDS)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode  # building it takes longer


def json_digest(value: object) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no blanks), as hex.

    Raises:
        ValueError: it holds a number that JSON does not have.
    """
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def pairs_digest(pairs: Iterable[tuple[str, str]]) -> str:
    """`json_digest` of the object that maps names to texts, from (name, text) by name; one is held at a time."""
    digest, before = hashlib.sha256(b"{"), ""
    for name, text in pairs:
        digest.update(f"{before}{_canonical(name)}:{_canonical(text)}".encode())
        before = ","
    digest.update(b"}")
    return digest.hexdigest()


def names_below(folder: Path) -> Iterator[str]:
    """Names of all regular files below a folder, relative to it, without hidden ones, in no order.

    Links are followed: a folder whose files lie elsewhere is what it points to.  A link without a target is left out.
    """
    yield from _walk(os.fspath(folder), "", frozenset())


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    stat = os.stat(folder)
    identity = (stat.st_dev, stat.st_ino)
    if identity in above:
        return  # a link back to a folder that we are in
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_file(entry):
                yield prefix + entry.name
            elif os.path.isdir(entry.path):
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {identity})


def names_in(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Names of the files right in a folder that end so, in small letters or capitals, sorted; hidden ones are left out.

    Links to files are followed; one without a target, or in a ring, is left out.
    """
    wanted = tuple(suffixes)
    with os.scandir(folder) as entries:
        named = (entry for entry in entries if entry.name.lower().endswith(wanted) and not entry.name.startswith("."))
        return sorted(entry.name for entry in named if _is_file(entry))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of a size, the last one shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def files_below(folder: Path) -> Iterator[Path]:
    """The files of `names_below`, sorted by relative path."""
    yield from sorted(folder / name for name in names_below(folder))


def _check(signature: Signature, digest: str) -> str:
    return f"{zlib.crc32(repr((*signature, digest)).encode()):08x}"


class DigestMemory:
    """Digests of files, kept in an SQLite file that several processes may share.

    Losing, damaging or deleting the file costs time, never correctness; nor is it an error that it cannot be written.
    With each digest stands a CRC-32 of its row: one of which a bit has turned over is not known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def look_at(self, files: Iterable[tuple[str, str | Path]]) -> Iterator[tuple[str, Signature, str]]:
        """(name, signature, digest) of each (name, file), in order; files whose signature is known are not read again.

        Raises:
            FileNotFoundError: a file does not exist.
        """
        for part in batched(files, AT_ONCE):
            now = time.time_ns()
            seen = [(name, path, Signature.of(path)) for name, path in part]  # before reading: a change is noticed
            known, read = self._recall({signature.inode for _, _, signature in seen}), {}
            for _, path, signature in seen:
                if signature not in known and signature not in read:
                    read[signature] = file_digest(Path(path))
            self.learn((one, digest) for one, digest in read.items() if now - one.changed > RACY_NANOSECONDS)
            known |= read
            yield from ((name, signature, known[signature]) for name, _, signature in seen)

    def of_path(self, path: Path) -> str:
        """Digest of a file's bytes, or of all names and bytes below a folder.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if not path.is_dir():
            return next(digest for _, digest in self.of_names(path.parent, [path.name]))
        return pairs_digest(self.of_names(path, sorted(names_below(path))))

    def of_names(self, folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(name, digest) of files below a folder; see `look_at`."""
        return ((name, digest) for name, _, digest in self.look_at((name, f"{folder}/{name}") for name in names))

    def learn(self, known: Iterable[tuple[Signature, str]]) -> None:
        """Remember digests of files that had these signatures and whose later changes would show."""
        rows = [(*signature, digest + _check(signature, digest)) for signature, digest in known]
        self._change("insert or replace into inodes values (?, ?, ?, ?, ?, ?)", rows)

    def forget(self, files: Iterable[str | Path]) -> None:
        """Drop what is remembered of files."""
        stats = (os.stat(path) for path in files)
        self._change(
            "delete from inodes where device = ? and inode = ?",
            [(stat.st_dev, stat.st_ino & LARGEST) for stat in stats],
        )

    def _change(self, statement: str, rows: Sequence[tuple[int | str, ...]]) -> None:
        if rows:
            self._use(lambda memory: memory.executemany(statement, rows))

    def _recall(self, inodes: Collection[int]) -> dict[Signature, str]:
        wanted = ", ".join("?" * len(inodes))
        question = f"select * from inodes where inode in ({wanted})"
        rows = self._use(lambda memory: memory.execute(question, tuple(inodes)).fetchall())
        known = ((Signature(*row[:5]), str(row[5])[:64], str(row[5])[64:]) for row in rows or ())
        return {signature: digest for signature, digest, check in known if check == _check(signature, digest)}

    def _use(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """Work on the database; None where it cannot be used.  A broken one is deleted, to be begun anew."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60.0)) as memory, memory:
                memory.execute(
                    "create table if not exists inodes (device int, inode int, size int, modified int, changed int, "
                    "digest text, primary key (inode, device)) without rowid"
                )
                return work(memory)
        except sqlite3.OperationalError:
            return None  # full, read-only, or locked for a minute
        except sqlite3.DatabaseError:
            with suppress(OSError):
                self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
            return None
