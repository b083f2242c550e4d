"""What the index of a dataset refuses or sets aside, before anything is copied."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import BadImage
from tag2mask.tasks.dataset.ingest import BadDataset
from tests.tasks.drawn_files import (
    save_bomb,
    truncate,
    write_tags,
)
from tests.tasks.indexed_folder import TAGS, index, metrics, table


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _bomb(path: Path) -> None:
    save_bomb(path, (8_000, 11_000))


@pytest.mark.parametrize(
    "spoil, reason",
    [(_empty, "is empty"), (truncate, "damaged or cut short"), (_bomb, "88.0 megapixels, above maximum_megapixels")],
)
def test_bad_image_ends_the_run_or_is_set_aside(
    raw: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], reason: str
) -> None:
    """A bad image is an error that names the way out, or is listed while the rest goes on."""
    spoil(raw / "photos" / "c.jpg")
    with pytest.raises(BadImage, match=rf"1 of 5 images are bad; on_bad_image: skip .*\n  .*c\.jpg: .*{reason}"):
        index(raw)
    out = index(raw, "skipped", on_bad_image="skip")
    assert ImageIndex.read(out).ids == tuple("abde")
    [line] = table(out / "set_aside.csv")
    assert line["source"] == "c.jpg" and reason in line["reason"] and str(raw) not in line["reason"]
    assert not (out / "images" / "c.jpg").exists()
    assert list(json.loads((out / "items.json").read_text())) == list("abde")
    assert metrics(out)["set_aside"] == 1 and metrics(out)["train"] == 4
    assert "1 images are set aside: c.jpg" in caplog.text


def test_all_bad_images_are_counted_and_ten_are_named(raw: Path) -> None:
    """One error tells of all bad images."""
    names = [f"x{number:02}" for number in range(12)]
    for name in names:
        (raw / "photos" / f"{name}.jpg").touch()
    write_tags(raw / "labels.csv", TAGS | dict.fromkeys(names, "cat"))
    with pytest.raises(BadImage, match=r"12 of 17 images are bad(?s:.*)x09\.jpg: is empty.*\n  and 2 more$"):
        index(raw)


def test_minimum_is_checked_again_after_skipping(raw: Path) -> None:
    """A class that loses its images to the list of bad ones is an error, too."""
    truncate(raw / "photos" / "a.jpg")
    truncate(raw / "photos" / "d.jpg")
    with pytest.raises(BadDataset, match="'cat' has 1"):
        index(raw, on_bad_image="skip")


@pytest.mark.parametrize(
    "tags, settings, message",
    [
        (
            {**TAGS, "f": "cat", "g": "cat"},
            {},
            r"photos: 2 ids have no image: f, g; .* drop the ids from .*labels\.csv$",
        ),
        ({"a": "cat", "b": "cat"}, {}, r"labels\.csv: 3 images have no tag: c, d, e; tag them or remove them"),
        (TAGS, {"train": ["a", "f"]}, r"1 ids have no image: f; .* drop the ids from .*train\.txt$"),
        (
            TAGS,
            {"train": ["a b"], "val": ["b", "f"]},
            r"2 ids have no .*: a b, f; .* from .*train\.txt and .*val\.txt$",
        ),
        ({"a": "cat"}, {"train": ["a", "b"]}, r"labels\.csv: 1 images have no tag: b"),
        (TAGS, {"train": ["a", "b"], "val": ["b", "c"]}, r"val\.txt: 1 ids stand in .*train\.txt, too: b"),
        ({**TAGS, "a": ""}, {}, r"labels\.csv: 1 images have no tag \(listed without one: .*line 2\): a; tag them"),
        (TAGS, {"train": []}, r"photos: the dataset is empty.* check .*train\.txt"),
        (TAGS, {"train": [], "val": ["a"]}, "the dataset is empty"),
        ({**TAGS, "e": "cow"}, {}, r"labels\.csv: 1 classes have fewer .* dataset\.minimum_images 2: 'cow' has 1; add"),
        (TAGS, {"val": ["a", "d"]}, "'cat' has 1"),
        (
            TAGS,
            {"minimum_images": 4},
            "2 classes have .*'cat' has 3, 'dog' has 3.*lower dataset.minimum_images, or drop",
        ),
        (
            TAGS,
            {"classes": ("cat", "dogs")},
            r"labels\.csv: 1 tags are not .*'dog' \(nearest: 'dogs'; 3 images, first b\)",
        ),
        (TAGS, {"classes": ("cat", "dog", "cow")}, "'cow' has 0"),
        (
            {**TAGS, "a": "Background"},
            {},
            r"labels\.csv: 'Background' is the name of number 0 .*; rename it",
        ),
        ({**TAGS, "a": "c\x07at"}, {}, r"labels\.csv: 'c\\x07at' has characters that cannot be printed; rename it"),
        ({**TAGS, "a": "x" * 101}, {}, r"labels\.csv: 'x+… is longer than 100 characters; rename it"),
        (
            {f"{name}.jpg": label for name, label in TAGS.items()},
            {"train": ["a", "b"]},
            r"labels\.csv: 2 images have no tag \(the table says a\.jpg; ids are names without suffix: a\): a, b",
        ),
        (
            {"a.v2": "cat", "b.PNG": "cat"},
            {"train": ["b"]},
            r"1 images have no tag \(the table says b\.PNG; ids are names without suffix: b\): b",
        ),
        ({"a": " ".join(f"k{n}" for n in range(255))}, {"train": ["a"]}, "255 classes, but .* at most 254; merge some"),
    ],
)
def test_what_does_not_fit_is_refused_before_copying(
    raw: Path, tags: dict[str, str], settings: dict[str, Any], message: str
) -> None:
    """Images, tags, splits and classes that do not fit are refused with the remedy, and nothing is written."""
    write_tags(raw / "labels.csv", tags)
    with pytest.raises(BadDataset, match=message):
        index(raw, **settings)
    assert not (raw.parent / "out").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("image_id,tags\na,cat\n", "unknown column 'tags'"),
        ("image_id,labels\na,cat\na,cat\n", "line 3: id 'a'"),
        ("image_id,labels\n../a,cat\n", "not an image id"),
    ],
)
def test_wrong_table_is_refused_before_copying(raw: Path, text: str, message: str) -> None:
    """Faults of the table itself end the run before anything is written."""
    (raw / "labels.csv").write_text(text)
    with pytest.raises(BadTable, match=message):
        index(raw)
    assert not (raw.parent / "out").exists()


def test_empty_dataset_is_refused(raw: Path) -> None:
    """No images and no tags are an error that says so."""
    for path in (raw / "photos").iterdir():
        path.unlink()
    write_tags(raw / "labels.csv", {})
    with pytest.raises(BadDataset, match=r"photos: the dataset is empty, .* check .*labels\.csv"):
        index(raw)
    with pytest.raises(FileNotFoundError, match="photos: no such folder"):
        (raw / "photos").rmdir()
        index(raw)


def test_file_of_an_unread_kind_is_pointed_at(raw: Path) -> None:
    """Where a missing image is there in a format that is not read, the error says so."""
    (raw / "photos" / "b.jpg").rename(raw / "photos" / "b.heic")
    with pytest.raises(BadDataset, match=r"1 ids have no image \(b\.heic: this kind of file is not read\): b"):
        index(raw)


def test_many_faults_are_counted_and_ten_are_named(raw: Path) -> None:
    """An error names ten ids and counts the others."""
    write_tags(raw / "labels.csv", TAGS | {f"x{number:02}": "cat" for number in range(13)})
    with pytest.raises(BadDataset, match="13 ids have no image: x00, .*x09, and 3 more;"):
        index(raw)


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"two\nlines.jpg", b"bell\x07.png"])
def test_names_that_no_table_can_hold_are_refused(raw: Path, name: bytes) -> None:
    """An image whose name is not UTF-8, or has control characters, is shown by its bytes before anything is read."""
    path = os.path.join(os.fsencode(raw / "photos"), name)
    with open(path, "wb"):
        pass
    with pytest.raises(BadImage, match=re.escape("photos: 1 images have names that are not UTF-8, or have")) as raised:
        index(raw)
    assert repr(name) in str(raised.value) and str(raised.value).isprintable()
    assert not (raw.parent / "out").exists()


def test_legal_names_of_other_scripts_are_taken(raw: Path) -> None:
    """Blanks of other scripts, as in screenshots, and joined signs are part of a name like any other."""
    names = ["Screenshot 3.12.45\u202fPM", "bild\u00a0eins", "\U0001f469\u200d\U0001f33e"]
    for name in names:
        (raw / "photos" / f"{name}.jpg").write_bytes((raw / "photos" / "a.jpg").read_bytes())
    lines = [f"{image_id},{tags}" for image_id, tags in {**TAGS, **dict.fromkeys(names, "cat")}.items()]
    (raw / "labels.csv").write_text("\n".join(["image_id,labels", *lines]), encoding="utf-8")
    assert set(names) < set(ImageIndex.read(index(raw)).ids)


def test_a_validation_split_that_would_vanish_is_refused(raw: Path) -> None:
    """Where no image of it has a tag, nothing could be measured, whatever is to be skipped."""
    write_tags(raw / "labels.csv", {image_id: tag for image_id, tag in TAGS.items() if image_id in "abcd"})
    with pytest.raises(BadDataset, match=r"val\.txt: none of its 1 images has a tag in .*labels\.csv; tag them, or"):
        index(raw, on_bad_image="skip", train=list("abcd"), val=["e"])


def test_a_validation_split_without_any_image_is_refused(raw: Path) -> None:
    """An empty list, and one whose images are all set aside, are named before rounds are compared on nothing."""
    with pytest.raises(BadDataset, match=r"val\.txt: holds no id; list the validation images, or leave"):
        index(raw, train=list("abcd"), val=[])
    truncate(raw / "photos" / "e.jpg")
    with pytest.raises(BadDataset, match=r"val\.txt: none of its images can be read: e\.jpg .*damaged.*; mend one, or"):
        index(raw, on_bad_image="skip", minimum_images=1, train=list("abcd"), val=["e"])
    index(raw, on_bad_image="skip", minimum_images=1, train=list("acd"), val=["b", "e"])
