"""Digests: what enters them, and that a remembered digest is never a wrong one."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tag2mask.tasks.store import digests
from tag2mask.tasks.store.digests import (
    DigestMemory,
    Signature,
    file_digest,
    files_below,
    json_digest,
    names_in,
    pairs_digest,
)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read; files count as settled after 20 ms."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", counted)
    monkeypatch.setattr(digests, "RACY_NANOSECONDS", 20_000_000)
    return names


def settle() -> None:
    time.sleep(0.03)


def test_digests_are_those_of_other_tools(tmp_path: Path) -> None:
    """A file's digest is its SHA-256; that of a JSON value is the one of its canonical text, in any order of keys."""
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json_digest({"b": 1, "a": [True, None]}) == json_digest({"a": [True, None], "b": 1})
    assert json_digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(ValueError, match="JSON"):
        json_digest([float("inf")])


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a b", 'a"\\', "ä", "\udce9", "\u2028", "𝔞"]])
def test_the_digest_of_pairs_is_that_of_their_object(names: list[str]) -> None:
    """Read one by one, names and texts have the digest of the JSON object that they make, whatever the names hold."""
    pairs = {name: name[::-1] for name in sorted(names)}
    assert pairs_digest(iter(pairs.items())) == json_digest(pairs)


def test_files_below_follows_links_and_leaves_out_what_is_no_file(tmp_path: Path) -> None:
    """Linked folders are entered once, loops end, and hidden files, pipes and links to nothing are left out."""
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for path in (folder / "b" / "2", folder / "a" / "1", folder / ".hidden" / "3", folder / ".4", elsewhere / "5"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    (folder / "ring").symlink_to("ring")
    os.mkfifo(folder / "pipe")
    assert [path.relative_to(folder).as_posix() for path in files_below(folder)] == ["a/1", "b/2", "linked/5"]


def test_folder_digest_knows_names_and_bytes(tmp_path: Path) -> None:
    """The digest of a folder changes with a name, with a byte and with an added file, and not with where it stands."""
    memory = DigestMemory(tmp_path / "memory")
    seen = []
    for name, files in {"a": {"x": "1"}, "b": {"y": "1"}, "c": {"x": "2"}, "d": {"x": "1", "y": ""}}.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        seen.append(memory.of_path(tmp_path / name))
    assert len(set(seen)) == 4
    os.rename(tmp_path / "a", tmp_path / "moved")
    assert memory.of_path(tmp_path / "moved") == seen[0]
    with pytest.raises(FileNotFoundError, match="missing"):
        memory.of_path(tmp_path / "missing")


def test_unchanged_file_is_read_once(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A settled file is read once, even by another object or process; one that was just written is read again."""
    path = tmp_path / "a"
    path.write_text("1")
    with monkeypatch.context() as patch:
        patch.setattr(digests, "RACY_NANOSECONDS", 10**12)  # whatever else the machine does: it was just written
        DigestMemory(tmp_path / "memory").of_path(path)
    settle()
    first = DigestMemory(tmp_path / "memory").of_path(path)
    assert reads == ["a", "a"]
    assert DigestMemory(tmp_path / "memory").of_path(path) == first
    assert reads == ["a", "a"]


@pytest.mark.parametrize("how", ["in place", "by rename", "by a link"])
def test_same_size_and_time_do_not_hide_other_bytes(tmp_path: Path, reads: list[str], how: str) -> None:
    """A file replaced by another of the same size and modification time is noticed by its inode and change time."""
    path, memory = tmp_path / "a", DigestMemory(tmp_path / "memory")
    path.write_text("old!")
    settle()
    before, stat = memory.of_path(path), path.stat()
    target = path if how == "in place" else tmp_path / "b"
    target.write_text("new!")
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if how == "by rename":
        os.replace(target, path)
    elif how == "by a link":
        path.unlink()
        os.link(target, path)
    assert path.stat().st_size == stat.st_size
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert memory.of_path(path) == file_digest(path) != before


def test_digest_is_remembered_across_a_rename_of_the_folder(tmp_path: Path, reads: list[str]) -> None:
    """Files hashed before their folder is renamed need not be read where they stand afterwards."""
    memory, work_dir, home = DigestMemory(tmp_path / "memory"), tmp_path / "work_dir", tmp_path / "home"
    work_dir.mkdir()
    (work_dir / "a").write_text("1")
    settle()
    list(memory.of_names(work_dir, ["a"]))
    os.rename(work_dir, home)
    list(memory.of_names(home, ["a"]))
    assert reads == ["a"]


def test_all_names_of_a_file_share_what_is_remembered(tmp_path: Path, reads: list[str]) -> None:
    """What is learned of a file under one name holds for its other links, until its content is changed under any."""
    memory, path, link = DigestMemory(tmp_path / "memory"), tmp_path / "a", tmp_path / "b"
    path.write_text("1")
    settle()
    os.link(path, link)
    settle()
    digest = memory.of_path(path)
    assert memory.of_path(link) == digest and reads == ["a"]
    link.write_text("2")
    settle()
    assert memory.of_path(path) == memory.of_path(link) == file_digest(link) != digest
    assert reads == ["a", "a"]


def test_a_further_name_leaves_the_content_known_and_a_change_does_not(tmp_path: Path) -> None:
    """A signature outlives a further link to a file that has long been what it is, and no change of its content."""
    path = tmp_path / "a"
    path.write_text("1")
    fresh = Signature.of(path)
    os.link(path, tmp_path / "b")
    assert not fresh.still(Signature.of(path))
    os.utime(path, (10**9, 10**9))
    old = Signature.of(path)
    os.link(path, tmp_path / "c")
    assert old.still(Signature.of(path))
    path.write_text("2")
    assert not old.still(Signature.of(path))
    with pytest.raises(OSError, match="no regular file"):
        Signature.of(tmp_path)


def test_forgotten_files_are_read_again_and_no_others(tmp_path: Path, reads: list[str]) -> None:
    """Only the files named are forgotten."""
    memory = DigestMemory(tmp_path / "memory")
    paths = {name: tmp_path / name for name in ("x/a", "x/y/b", "xy/c")}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    settle()
    list(memory.look_at(paths.items()))
    reads.clear()
    memory.forget(files_below(tmp_path / "x"))
    list(memory.look_at(paths.items()))
    assert sorted(reads) == ["a", "b"]


def test_a_folder_is_what_is_read_of_it(tmp_path: Path, reads: list[str]) -> None:
    """Of a folder whose suffixes are known nothing else is looked at: no other file, no folder, no ring of links."""
    memory, folder = DigestMemory(tmp_path / "memory"), tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.PNG", "c.txt", ".d.png", "sub/e.png"):
        (folder / name).write_text(name)

    def seen() -> list[tuple[str, str]]:
        return list(memory.of_names(folder, names_in(folder, (".png",))))

    before = seen()
    assert sorted(reads) == ["a.png", "b.PNG"]
    (folder / "more").symlink_to(tmp_path)
    (folder / "ring.png").symlink_to("ring.png")
    (folder / "nowhere.png").symlink_to(tmp_path / "missing")
    (folder / "Thumbs.db").touch()
    assert seen() == before
    (folder / "linked.png").symlink_to(folder / "c.txt")
    assert seen() != before


@pytest.mark.parametrize("damage", ["garbage", "flipped", "folder"])
def test_broken_memory_costs_time_only(tmp_path: Path, reads: list[str], damage: str) -> None:
    """A memory whose file is garbage, is damaged inside or cannot be opened gives right digests and no error."""
    path, place = tmp_path / "a", tmp_path / "memory"
    path.write_text("1")
    settle()
    if damage == "folder":
        place.mkdir()
    elif damage == "garbage":
        place.write_bytes(b"no database" * 1000)
    else:
        DigestMemory(place).of_path(path)
        place.write_bytes(place.read_bytes()[:5000] + bytes(3000))
    assert [DigestMemory(place).of_path(path) for _ in range(3)] == [file_digest(path)] * 3
    if damage != "folder":
        reads.clear()
        assert DigestMemory(place).of_path(path) and not reads


def test_flipped_bits_of_the_memory_never_give_a_wrong_digest(tmp_path: Path, reads: list[str]) -> None:
    """Whatever bit of the memory's file turns over, the digest of a file is its own, read anew where need be."""
    path, place = tmp_path / "a", tmp_path / "memory"
    path.write_text("1")
    settle()
    DigestMemory(place).of_path(path)
    sound, expected = place.read_bytes(), file_digest(path)
    row = sound.index(expected.encode())
    for byte in (*range(0, len(sound), 41), *range(row - 30, row + 72)):
        place.write_bytes(sound[:byte] + bytes([sound[byte] ^ 1 << byte % 8]) + sound[byte + 1 :])
        assert DigestMemory(place).of_path(path) == expected, byte


def test_locked_memory_is_gone_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reads: list[str]) -> None:
    """A memory that another process has locked for good delays, but gives right digests."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.05))
    memory, path = DigestMemory(tmp_path / "memory"), tmp_path / "a"
    path.write_text("1")
    settle()
    with connect(tmp_path / "memory", isolation_level=None) as other:
        other.execute("begin exclusive")
        assert memory.of_path(path) == file_digest(path)
        other.execute("rollback")
    other.close()


def test_names_that_are_not_utf8_are_remembered(tmp_path: Path, reads: list[str]) -> None:
    """A name in another encoding is hashed and remembered like any other."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    path.write_text("1")
    settle()
    memory = DigestMemory(tmp_path / "memory")
    assert memory.of_path(path) == memory.of_path(path)
    assert memory.of_path(tmp_path) != memory.of_path(path)
    assert len(reads) >= 1 and reads.count(path.name) == 1


def test_several_processes_share_a_memory(tmp_path: Path) -> None:
    """Four processes that hash, remember and forget the same files at once all get the right digests."""
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(str(number))
    program = f"""
from pathlib import Path
from tag2mask.tasks.store import digests
digests.RACY_NANOSECONDS = 0
folder = Path({str(tmp_path)!r})
files = {{path.name: path for path in folder.glob("*.txt")}}
truth = {{name: digests.file_digest(path) for name, path in files.items()}}
for turn in range(15):
    memory = digests.DigestMemory(folder / "memory" )
    assert dict(memory.of_names(folder, files)) == truth
    memory.forget(files.values())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    children = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(4)]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
