"""The order of `fsync` and rename, on a modelled disk that a power cut leaves with what was forced to it."""

from pathlib import Path

import pytest

from tag2mask.tasks.networks.checkpoints import save_checkpoint
from tag2mask.tasks.store.files import write_file
from tag2mask.tasks.store.journal import record_items
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_store import LABELS, draft_of, published
from tests.tasks.power_cut import Disk
from tests.tasks.store.toy_artifacts import RECIPE, build_with, make


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The modelled disk, in the place of the real one's `fsync`."""
    return Disk(monkeypatch)


def test_the_model_tells_what_is_lost(disk: Disk, tmp_path: Path) -> None:
    """A file that is renamed without being forced to the disk is lost, and so is the name of one that was."""
    write_file(tmp_path / "a", lambda file: file.write(b"1"))
    assert disk.renamed[tmp_path / "a"] == [Path(".")] and not disk.keeps_name(tmp_path / "a")
    write_file(tmp_path / "a", lambda file: file.write(b"1"), durably=True)
    assert disk.renamed[tmp_path / "a"] == [] and disk.keeps_name(tmp_path / "a")


def test_a_result_is_on_the_disk_before_it_has_its_place(disk: Disk, tmp_path: Path) -> None:
    """All of its files and folders are, journaled ones and others, and after the rename its name and its stage's."""

    def both(out: Path) -> None:
        make(out)
        (out / "masks").mkdir()
        write_file(out / "masks" / "one.png", lambda file: file.write(b"1"))
        record_items(out, {"one": [out / "masks" / "one.png"]})

    artifact = build_with(Store(tmp_path / "artifacts"), RECIPE, both)
    assert (artifact.path / "masks" / "one.png").is_file() and (artifact.path / "sub" / "b.bin").is_file()
    assert disk.renamed[artifact.path] == []
    assert disk.keeps_name(artifact.path) and disk.keeps_name(artifact.path.parent)


def test_a_release_is_on_the_disk_before_it_has_its_number(disk: Disk, tmp_path: Path) -> None:
    """Its labels, tables and folders are, and after the rename the names of its folders; `latest` follows it."""
    store = Store(tmp_path / "store")
    release = published(store, draft_of(store, LABELS)).release
    assert disk.renamed[release.path] == []
    assert all(disk.keeps_name(path) for path in (release.path, release.path.parent, release.path.parent.parent))
    order = list(disk.renamed)
    assert order.index(release.path) < order.index(release.path.parent / "latest")


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(disk: Disk, tmp_path: Path) -> None:
    """Its bytes are, and its name before the ones before it are deleted."""
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, b"weights")
    saved = sorted(path for path in disk.renamed if path.exists())
    assert len(saved) == 2 and all(disk.renamed[path] == [] and disk.keeps_name(path) for path in saved)
