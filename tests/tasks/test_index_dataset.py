"""The index of a dataset: what comes in fits together, is upright RGB, and comes out with the same bytes every time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.schema import Dataset
from tag2mask.tasks import index_dataset
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import BadImage, read_image
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import (
    files_of,
    pixels,
    save_image,
    save_turned,
    truncate,
    write_annotation,
    write_tags,
)
from tests.tasks.indexed_folder import IN_PAIRS, TAGS, index, metrics, table


def test_every_image_is_indexed(raw: Path) -> None:
    """Without splits every image trains; the index gives back tags, sizes and the bytes of upright RGB files."""
    found = ImageIndex.read(index(raw))
    assert found.classes == ("cat", "dog")
    assert found.ids == tuple("abcde")
    assert [record.tags for record in found] == [(1,), (2,), (1, 2), (1,), (2,)]
    assert [record.size for record in found] == [(12, 16 + seed) for seed in range(5)]
    assert {record.split for record in found} == {"train"}
    for record in found:
        assert (found.folder / record.file).read_bytes() == (raw / "photos" / f"{record.image_id}.jpg").read_bytes()
    assert metrics(found.folder) == {
        "train": 5,
        "val": 0,
        "classes": 2,
        "set_aside": 0,
        "converted": 0,
        "images_per_class": {"train": {"cat": 3, "dog": 3}, "val": {"cat": 0, "dog": 0}},
    }
    assert (found.folder / "set_aside.csv").read_text() == "source,reason\n"


def test_splits_choose_the_images(raw: Path) -> None:
    """With both splits only the listed ids matter; images and tags of others may be missing."""
    save_image(raw / "photos" / "untagged.jpg")
    write_tags(raw / "labels.csv", {**TAGS, "lost": "cow"})
    found = ImageIndex.read(index(raw, train=["e", "c", "a"], val=["b"], minimum_images=1))
    assert [(record.image_id, record.split) for record in found] == [
        ("a", "train"),
        ("b", "val"),
        ("c", "train"),
        ("e", "train"),
    ]
    assert found.classes == ("cat", "dog")
    assert metrics(found.folder)["images_per_class"] == {"train": {"cat": 2, "dog": 2}, "val": {"cat": 0, "dog": 1}}


def test_names_with_blanks_are_not_cut(raw: Path) -> None:
    """A list that names `a b` chooses that image, not `a`."""
    save_image(raw / "photos" / "a b.jpg")
    write_tags(raw / "labels.csv", {**TAGS, "a b": "cat"})
    found = ImageIndex.read(index(raw, train=["a b", "c 1"], minimum_images=1))
    assert found.ids == ("a b", "c")


def test_validation_alone_is_kept_apart(raw: Path) -> None:
    """With a list of validation images alone, all the others train."""
    found = ImageIndex.read(index(raw, val=["c"]))
    assert found.split("val").ids == ("c",)
    assert found.split("train").ids == ("a", "b", "d", "e")


def test_annotations_serve_as_tags(raw: Path) -> None:
    """A folder of VOC annotations gives the same index as the table that says the same."""
    for image_id, labels in TAGS.items():
        write_annotation(raw / "Annotations" / f"{image_id}.xml", *((name, 0) for name in labels.split()))
    assert files_of(index(raw, "one")) == files_of(index(raw, "two", tags="Annotations"))


def test_images_without_tags_are_indexed_without_classes(raw: Path) -> None:
    """Where there is no table of tags, every image is taken in and none has a class."""
    (raw / "labels.csv").unlink()
    out = raw.parent / "untagged"
    out.mkdir()
    index_dataset.run(Dataset(root=raw, tags=None), out, IN_PAIRS, images=raw / "photos")
    found = ImageIndex.read(out)
    assert found.ids == tuple(sorted(path.stem for path in (raw / "photos").iterdir()))
    assert found.classes == () and {record.tags for record in found} == {()} and len(found.split("train")) == len(found)


def test_given_classes_keep_their_order(raw: Path) -> None:
    """Classes are numbered as the settings list them."""
    found = ImageIndex.read(index(raw, classes=("dog", "cat")))
    assert found.classes == ("dog", "cat")
    assert found.records[0].tags == (2,)
    assert table(found.folder / "index.csv")[2]["labels"] == "dog cat"


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(pixels(1)[..., 0].astype(np.uint16) * 257).save(path.with_suffix(".png"))


def _transparent(path: Path) -> None:
    alpha = np.full((12, 16, 1), 100, np.uint8)
    Image.fromarray(np.concatenate([pixels(1), alpha], axis=2)).save(path.with_suffix(".png"))


@pytest.mark.parametrize(
    "save, noted, size",
    [
        (lambda path: Image.fromarray(pixels(1)).convert("CMYK").save(path), "CMYK", (12, 16)),
        (lambda path: Image.fromarray(pixels(1)).convert("L").save(path), "grayscale", (12, 16)),
        (_sixteen_bit, "16-bit", (12, 16)),
        (_transparent, "transparent", (12, 16)),
        (lambda path: save_turned(path, 1, 6), "rotated by EXIF", (16, 12)),
    ],
)
def test_odd_images_are_converted(
    raw: Path, caplog: pytest.LogCaptureFixture, save: Callable[[Path], None], noted: str, size: tuple[int, int]
) -> None:
    """An image that is not upright 8-bit RGB is stored as what a person sees, as PNG, listed and logged."""
    (raw / "photos" / "b.jpg").unlink()
    save(raw / "photos" / "b.jpg")
    source = next((raw / "photos").glob("b.*"))
    with caplog.at_level("INFO", "tag2mask"):
        found = ImageIndex.read(index(raw))
    record = found.records[1]
    assert (record.file, record.size) == ("images/b.png", size)
    line = table(found.folder / "index.csv")[1]
    assert (line["source"], line["converted"]) == (source.name, noted)
    np.testing.assert_array_equal(found.pixels(record), read_image(source, maximum_megapixels=1).pixels)
    assert metrics(found.folder)["converted"] == 1
    assert f"{source.name} ({noted})" in caplog.text


def test_same_bytes_whatever_the_resources(raw: Path) -> None:
    """Threads and shards change nothing, and neither does the folder's place."""
    save_turned(raw / "photos" / "b.jpg", 1, 6)
    first = files_of(index(raw, "one"))
    assert first == files_of(index(raw, "two", StageRuntime(workers=4, shard=3)))
    moved = raw.rename(raw.parent / "moved")
    assert first == files_of(index(moved, "three"))


@pytest.mark.parametrize("workers", [1, 3])
def test_interrupted_run_resumes(raw: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """After a crash finished images are not decoded again, and the bytes are those of an undisturbed run."""
    save_turned(raw / "photos" / "b.jpg", 1, 6)
    truncate(raw / "photos" / "a.jpg")
    runtime = StageRuntime(shard=2, workers=workers)
    settings = {"on_bad_image": "skip", "minimum_images": 1}
    undisturbed = files_of(index(raw, "undisturbed", runtime, **settings))
    original, decoded = index_dataset.take_image, []

    def crashing(image_id: str, *arguments: Any, **keywords: Any) -> Any:
        if image_id == "d":
            raise MemoryError
        return original(image_id, *arguments, **keywords)

    def counting(image_id: str, *arguments: Any, **keywords: Any) -> Any:
        decoded.append(image_id)
        return original(image_id, *arguments, **keywords)

    monkeypatch.setattr(index_dataset, "take_image", crashing)
    with pytest.raises(MemoryError):
        index(raw, "out", runtime, **settings)
    assert not (raw.parent / "out" / "index.csv").exists()
    monkeypatch.setattr(index_dataset, "take_image", counting)
    assert files_of(index(raw, "out", runtime, **settings)) == undisturbed
    assert {"d"} <= set(decoded) <= {"c", "d", "e"}  # at most the shard of the crash is repeated


def test_bad_image_is_looked_at_again(raw: Path) -> None:
    """A run that ended on a bad image can be resumed once the file is whole."""
    whole = (raw / "photos" / "d.jpg").read_bytes()
    truncate(raw / "photos" / "d.jpg")
    with pytest.raises(BadImage):
        index(raw)
    (raw / "photos" / "d.jpg").write_bytes(whole)
    assert files_of(index(raw)) == files_of(index(raw, "other"))


def test_items_change_with_image_and_tags_alone(raw: Path) -> None:
    """An item's digest stays when images are added or change the split, and changes with its bytes or its tags."""
    read = lambda out: json.loads((out / "items.json").read_text())  # noqa: E731
    before = read(index(raw, "before"))
    assert read(index(raw, "splits", train=["a", "b", "c", "d"], val=["e"])) == before
    save_image(raw / "photos" / "f.jpg", 9)
    write_tags(raw / "labels.csv", TAGS | {"f": "cat", "a": "dog"})
    save_image(raw / "photos" / "b.jpg", 8)
    after = read(index(raw, "after"))
    assert {image_id for image_id in before if after[image_id] == before[image_id]} == {"c", "d", "e"}


def test_progress_reaches_the_end(raw: Path) -> None:
    """Progress is reported image by image."""
    reported: list[tuple[int, int]] = []
    index(raw, runtime=StageRuntime(shard=2, report=lambda done, total, note: reported.append((done, total))))
    assert reported == [(done, 5) for done in range(6)]
