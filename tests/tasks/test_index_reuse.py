"""Indexing a dataset to which images were added: what has not changed is linked, and not read again."""

import os
from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.schema import Dataset
from tag2mask.tasks.building.build import Order, build, input_digest
from tag2mask.tasks.dataset import ingest
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.store.artifact import Artifact, Recipe
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_files import save_image, save_mask, save_turned, write_tags

TAGS = {"a": "cat", "b": "dog", "c": "dog cat", "d": "cat", "e": "dog"}


class Folder:
    """A raw dataset, the store that it is indexed in, and the names of the images that were decoded."""

    def __init__(self, folder: Path) -> None:
        self.raw, self.store = folder / "raw", Store(folder / "artifacts")
        self.decoded: list[str] = []
        self.tags = dict(TAGS)
        for seed, image_id in enumerate(TAGS):
            save_image(self.raw / "photos" / f"{image_id}.jpg", seed)

    def build(self, stage: str, config: Dataset, inputs: dict[str, Path], runtime: StageRuntime) -> Artifact:
        digests = {name: input_digest(self.store, stage, name, path) for name, path in inputs.items()}
        recipe = Recipe(stage, 1, {"on_bad_image": config.on_bad_image}, digests)
        return build(Order(self.store.root, recipe, config, inputs), runtime)

    def index(self, runtime: StageRuntime | None = None, **settings: str) -> Artifact:
        config = Dataset(root=self.raw, minimum_images=1, **settings)  # type: ignore[arg-type]
        write_tags(self.raw / "labels.csv", self.tags)
        inputs = {"images": self.raw / "photos", "tags": self.raw / "labels.csv"}
        return self.build("index_dataset", config, inputs, runtime or StageRuntime())

    def masks(self, dataset: Artifact) -> Artifact:
        inputs = {"dataset": dataset.path, "masks": self.raw / "masks"}
        return self.build("index_masks", Dataset(root=self.raw), inputs, StageRuntime())

    def read(self) -> list[str]:
        """Images decoded since the last call, sorted."""
        names, self.decoded = sorted(self.decoded), []
        return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Five images with tags; nothing is waited for on the disk."""
    made, read_image = Folder(tmp_path), ingest.read_image

    def counted(path: Path, *, maximum_megapixels: float) -> object:
        made.decoded.append(path.stem)
        return read_image(path, maximum_megapixels=maximum_megapixels)

    monkeypatch.setattr(ingest, "read_image", counted)
    monkeypatch.setattr(os, "fsync", lambda file: None)
    return made


def tables(artifact: Artifact) -> dict[str, bytes]:
    """Name -> bytes of all that is no image."""
    return {path.name: path.read_bytes() for path in sorted(artifact.path.glob("[!pm]*.*"))}


def test_added_and_changed_images_are_the_only_ones_read(folder: Folder) -> None:
    """After images were added, changed and removed the new and changed ones alone are decoded; the rest is linked."""
    old = folder.index()
    assert folder.read() == list(TAGS)
    save_turned(folder.raw / "photos" / "f.jpg", 9, 6)
    save_image(folder.raw / "photos" / "c.jpg", 17)
    (folder.raw / "photos" / "a.jpg").unlink()
    del folder.tags["a"]
    folder.tags |= {"f": "cat", "b": "cat"}
    new = folder.index()
    assert folder.read() == ["c", "f"] and new.manifest["reused_images"] == 3
    assert (new.path / "images" / "b.jpg").samefile(old.path / "images" / "b.jpg")
    assert ImageIndex.read(new.path).ids == tuple("bcdef")
    afresh = build(
        Order(
            folder.store.root,
            Recipe(**recipe_of(new)),
            Dataset(root=folder.raw, minimum_images=1),
            inputs_of(folder),
            force=True,
        ),
        StageRuntime(),
    )
    assert folder.read() == list("bcdef") and afresh.digest == new.digest


def recipe_of(artifact: Artifact) -> dict[str, object]:
    """The recipe of an artifact."""
    return dict(artifact.manifest["recipe"])


def inputs_of(folder: Folder) -> dict[str, Path]:
    """What the index is made of."""
    return {"images": folder.raw / "photos", "tags": folder.raw / "labels.csv"}


def test_other_tags_cost_no_image(folder: Folder) -> None:
    """A change of the tags changes the tables of the index; no image is decoded again."""
    old = folder.index()
    folder.read()
    folder.tags["e"] = "owl"
    new = folder.index()
    assert folder.read() == [] and new.digest != old.digest
    assert ImageIndex.read(new.path).classes == ("cat", "dog", "owl")
    assert sum(dict(old.items())[image_id] == item for image_id, item in new.items()) == 4


def test_what_was_set_aside_is_remembered_with_its_reason(folder: Folder) -> None:
    """A bad image is not read again, stands in the table as before, and is refused once bad images are errors."""
    (folder.raw / "photos" / "d.jpg").write_bytes(b"no image")
    old = folder.index(on_bad_image="skip")
    folder.read()
    save_image(folder.raw / "photos" / "f.jpg", 9)
    folder.tags["f"] = "cat"
    new = folder.index(on_bad_image="skip")
    assert folder.read() == ["f"]
    assert (new.path / "set_aside.csv").read_bytes() == (old.path / "set_aside.csv").read_bytes()
    assert b"d.jpg" in (new.path / "set_aside.csv").read_bytes() and new.images == 5
    with pytest.raises(ingest.BadImage, match=r"d\.jpg"):
        folder.index(on_bad_image="error")


def test_files_that_are_not_read_change_nothing(folder: Folder) -> None:
    """Folders, rings of links and other files beside the images are not read, and an index is not made of them."""
    old = folder.index()
    photos = folder.raw / "photos"
    (photos / "more").symlink_to(folder.raw.parent)
    (photos / "ring").symlink_to("ring")
    (photos / "Thumbs.db").write_bytes(b"1")
    (photos / "thumbnails").mkdir()
    save_image(photos / "thumbnails" / "a.jpg", 3)
    assert folder.index() == old


def test_a_mask_is_copied_again_only_if_it_or_its_image_has_changed(folder: Folder) -> None:
    """Of the masks those are checked again that changed, or whose image or tags did; the figures count them all."""
    for image_id in TAGS:
        save_mask(folder.raw / "masks" / f"{image_id}.png", np.ones((12, 16)))
    old = folder.masks(folder.index())
    save_mask(folder.raw / "masks" / "b.png", np.full((12, 16), 2))
    save_image(folder.raw / "photos" / "f.jpg", 9)
    save_mask(folder.raw / "masks" / "f.png", np.ones((12, 16)))
    folder.tags["f"] = "cat"
    new = folder.masks(folder.index())
    linked = [i for i in TAGS if (new.path / "masks" / f"{i}.png").samefile(old.path / "masks" / f"{i}.png")]
    assert linked == list("acde") and new.manifest["reused_images"] == 4
    assert new.manifest["metrics"] == {**old.manifest["metrics"], "train": 6, "same_classes_as_tags": 4}


def test_a_reused_mask_of_a_class_that_left_is_refused(folder: Folder) -> None:
    """A mask that is not read again is held against the classes of today, and named where it shows more."""
    for image_id in TAGS:
        save_mask(folder.raw / "masks" / f"{image_id}.png", np.full((12, 16), 2 if image_id == "a" else 1))
    folder.masks(folder.index())
    folder.tags = dict.fromkeys(TAGS, "cat")
    with pytest.raises(ingest.BadDataset, match=r"1 of 5 masks do not fit:\n.*a\.png: has the values 2; .* 0, 1\.\.1"):
        folder.masks(folder.index())
