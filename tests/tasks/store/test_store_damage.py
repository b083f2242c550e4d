"""Damage in the store: noticed and named, whatever it is."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tag2mask.tasks.store import digests as digests_module
from tag2mask.tasks.store.parts import PARTS
from tag2mask.tasks.store.store import Artifact, DamagedArtifact, Store
from tests.tasks.store.toy_artifacts import FILES, RECIPE, build_with, find, make
from tests.tasks.store.toy_stages import contents


def remove_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


def turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "flipped bit": ("sub/b.bin", lambda folder: (folder / "sub/b.bin").write_bytes(bytes(500) + b"\1" + bytes(499))),
    "truncated": ("sub/b.bin", lambda folder: os.truncate(folder / "sub/b.bin", 999)),
    "emptied": ("a.bin", lambda folder: os.truncate(folder / "a.bin", 0)),
    "lengthened": ("empty", lambda folder: (folder / "empty").write_bytes(b"1")),
    "removed": ("a.bin", lambda folder: (folder / "a.bin").unlink()),
    "folder removed": ("sub/b.bin", lambda folder: shutil.rmtree(folder / "sub")),
    "added": ("sub/new.png", lambda folder: (folder / "sub/new.png").touch()),
    "renamed": ("a.bin", lambda folder: (folder / "a.bin").rename(folder / "c.bin")),
    "turned into a folder": ("a.bin", lambda folder: turn_into_folder(folder / "a.bin")),
    "manifest removed": ("manifest.json", lambda folder: (folder / "manifest.json").unlink()),
    "manifest truncated": ("manifest.json", lambda folder: os.truncate(folder / "manifest.json", 100)),
    "manifest emptied": ("manifest.json", lambda folder: os.truncate(folder / "manifest.json", 0)),
    "manifest of another kind": ("manifest.json", lambda folder: (folder / "manifest.json").write_text("[1]")),
    "manifest without seal": ("manifest.json", lambda folder: (folder / "manifest.json").write_text("{}")),
    "all removed": ("manifest.json", remove_files),
}


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_named(
    monkeypatch: pytest.MonkeyPatch, store: Store, made: Artifact, damage: str, reread: bool
) -> None:
    """Whatever happens to a file of a result, the result is refused with the file's name, and can be rebuilt."""
    monkeypatch.setattr(digests_module, "RACY_NANOSECONDS", 0)
    time.sleep(0.01)
    assert find(store) == made  # remembered from here on
    name, inflict = DAMAGES[damage]
    inflict(made.path)
    with pytest.raises(DamagedArtifact, match=rf"toy/{RECIPE.key}: {name}"):
        find(store, reread=reread)
    aside = store.set_aside("toy", RECIPE.key)
    assert aside.is_dir() and find(store) is None
    assert contents(build_with(store, RECIPE, make)) == FILES and find(store, reread=True) is not None


def test_every_flipped_bit_of_a_manifest_is_noticed(store: Store, made: Artifact) -> None:
    """There is no bit of a manifest whose change goes unnoticed."""
    path = made.path / "manifest.json"
    sound = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(len(sound)):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([sound[place] ^ 1 << bit]), place)
                with pytest.raises(DamagedArtifact, match=r"manifest\.json"):
                    find(store)
            os.pwrite(file.fileno(), sound[place : place + 1], place)
    assert find(store) == made


def test_replaced_file_of_the_same_size_and_time_is_noticed(
    monkeypatch: pytest.MonkeyPatch, store: Store, made: Artifact
) -> None:
    """A file replaced by another of the same size and modification time is noticed without reading all bytes anew."""
    monkeypatch.setattr(digests_module, "RACY_NANOSECONDS", 0)
    time.sleep(0.01)
    assert find(store) == made
    path = made.path / "a.bin"
    stat = path.stat()
    (store.root / "other").write_bytes(b"aaab")
    os.utime(store.root / "other", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(store.root / "other", path)
    with pytest.raises(DamagedArtifact, match=r"a\.bin"):
        find(store)


def test_copy_of_a_result_under_another_name_is_refused(store: Store, made: Artifact) -> None:
    """A result copied or renamed to another key or stage is not taken for that one."""
    shutil.copytree(made.path, store.path_of("toy", "0" * 20))
    shutil.copytree(made.path, store.path_of("other", RECIPE.key))
    for stage, key in (("toy", "0" * 20), ("other", RECIPE.key)):
        with pytest.raises(DamagedArtifact, match=f"is that of toy/{RECIPE.key}"):
            store.find(stage, key)


def test_damaged_memory_does_not_damn_a_sound_result(
    monkeypatch: pytest.MonkeyPatch, store: Store, made: Artifact
) -> None:
    """A wrong remembered digest is found out by reading the file, and forgotten."""
    import sqlite3

    monkeypatch.setattr(digests_module, "RACY_NANOSECONDS", 0)
    time.sleep(0.01)
    find(store)
    with sqlite3.connect(store.root / ".digests.sqlite") as memory:
        assert memory.execute("update inodes set digest = 'wrong'").rowcount == len({*FILES, PARTS})
    memory.close()
    assert find(store) == made
    assert dict(store.digests.of_names(made.path, ["a.bin"]))["a.bin"] == made.files()["a.bin"]
