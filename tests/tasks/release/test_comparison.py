"""Two label sets beside each other, in figures and in pictures."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.release.comparison import (
    GAINED,
    IGNORED,
    LOST,
    OTHER_CLASS,
    changed_kinds,
    compare,
    compare_maps,
    kind_of,
)
from tag2mask.tasks.release.comparison_page import KIND_COLORS, change_picture, comparison_page
from tag2mask.tasks.release.label_sets import LabelSet, NoLabels
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_store import changed, draft_of, drawn_labels


def label_set(
    folder: Path, labels: dict[str, np.ndarray], classes: tuple[str, ...] | None = None, title: str = "set"
) -> LabelSet:
    """Labels in a folder, with the names of their classes."""
    for image_id, pixels in labels.items():
        write_labels(folder / f"{image_id}.png", pixels)
    return LabelSet(title, {i: folder / f"{i}.png" for i in labels}, classes, None, {})


def square(*values: int) -> np.ndarray:
    """A (1, n) label map."""
    return np.array([values], np.uint8)


def test_planted_changes_are_found_and_ranked(tmp_path: Path) -> None:
    """Shares are exact, the most changed comes first, and added and removed images are distinguished."""
    before = {"a": square(0, 0, 1, 1), "b": square(1, 1, 2, 0), "c": square(0, 0, 0, 0), "gone": square(1)}
    after = {"a": square(0, 0, 1, 2), "b": square(255, 0, 1, 0), "c": square(0, 0, 0, 0), "new": square(2)}
    comparison = compare(label_set(tmp_path / "1", before), label_set(tmp_path / "2", after), threads=2)
    assert [(image.image_id, image.share) for image in comparison.changed(0.0)] == [("b", 0.75), ("a", 0.25)]
    assert [image.image_id for image in comparison.changed(0.25)] == ["b"]
    assert comparison.changed_share(0.25) == pytest.approx(1 / 3)
    assert (comparison.added, comparison.removed) == (("new",), ("gone",))
    states = {row["image_id"]: row["state"] for row in comparison.image_rows()}
    assert states == {"b": "changed", "a": "changed", "c": "same", "new": "added", "gone": "removed"}


def test_classes_are_counted_before_after_and_kept(tmp_path: Path) -> None:
    """The table by class holds the pixels of both sets and the IoU of the two."""
    one, two = (
        label_set(tmp_path / "1", {"a": square(0, 1, 1, 255)}),
        label_set(tmp_path / "2", {"a": square(1, 1, 2, 0)}),
    )
    rows = {row["class"]: row for row in compare(one, two).class_rows()}
    assert list(rows) == ["background", "class 1", "class 2", "ignored"]
    assert (rows["class 1"]["before"], rows["class 1"]["after"], rows["class 1"]["kept"]) == (2, 2, 1)
    assert rows["class 1"]["iou"] == pytest.approx(1 / 3)
    assert rows["ignored"]["relative_change"] == -1 and rows["class 2"]["relative_change"] is None


def test_a_class_that_is_ignored_altogether_keeps_its_line(tmp_path: Path) -> None:
    """All pixels before and after are counted, also of a class that no pixel keeps."""
    sets = [label_set(tmp_path / str(n), {"a": square(0, 0, *[value] * 2)}) for n, value in enumerate((3, 255))]
    rows = {row["class"]: row for row in compare(*sets).class_rows()}
    assert rows["class 3"]["before"] == 2 and sum(row["before"] for row in rows.values()) == 4


def test_kinds_equal_the_slow_rule() -> None:
    """Pixel by pixel the kinds of change are those of the rule for one pixel."""
    values = np.array([0, 1, 2, 254, 255], np.uint8)
    before, after = (grid.astype(np.uint8) for grid in np.meshgrid(values, values))
    kinds = changed_kinds(before, after)
    for position in np.ndindex(kinds.shape):
        assert kinds[position] == kind_of(int(before[position]), int(after[position]))
    assert kind_of(255, 3) == kind_of(0, 3) == GAINED and kind_of(3, 255) == kind_of(3, 0) == LOST
    assert kind_of(3, 4) == OTHER_CLASS and kind_of(0, 255) == kind_of(255, 0) == IGNORED


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    """A class that moved to another number is no change, and one that the later set lost keeps its name."""
    one = label_set(tmp_path / "1", {"a": square(1, 2, 3, 0)}, ("ant", "bee", "cow"))
    two = label_set(tmp_path / "2", {"a": square(1, 0, 2, 0)}, ("ant", "cow", "dog"))
    comparison = compare(one, two)
    assert comparison.classes == ("ant", "cow", "dog", "bee")
    assert comparison.images[0].share == 0.25
    assert {row["class"]: row["after"] - row["before"] for row in comparison.class_rows()}["bee"] == -1


def test_maps_of_other_sizes_are_changed_wholly() -> None:
    """No pixel of them can be compared."""
    change = compare_maps("a", np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
    assert change.share == 1 and change.resized and not change.moved


def test_a_set_equals_itself(tmp_path: Path) -> None:
    """No image is changed, at any threshold."""
    one = label_set(tmp_path, drawn_labels())
    assert compare(one, one).changed(0.0) == []


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(NoLabels, match="holds no label maps"):
        LabelSet.of_folder(tmp_path)


def test_an_artifact_knows_its_classes_its_images_and_its_digests(tmp_path: Path) -> None:
    """Labels of the store come with all that the manifest says; stages that make none are refused."""
    store, labels = Store(tmp_path), drawn_labels()
    draft = draft_of(store, labels)
    found = LabelSet.of_artifact(draft.labels, store.root)
    assert found.classes == ("ant", "bee", "cow") and found.dataset == draft.dataset.path
    assert found.digests.keys() == found.files.keys() == labels.keys()
    with pytest.raises(NoLabels, match="render_report makes no labels; mine_objects"):
        assert draft.report is not None
        LabelSet.of_artifact(draft.report, store.root)


def test_changed_pixels_are_painted_in_the_color_of_their_kind() -> None:
    """A picture shows a gained object where it is, and the paled image elsewhere."""
    kinds = np.zeros((8, 8), np.uint8)
    kinds[2:4] = GAINED
    address = change_picture(kinds, np.zeros((8, 8, 3), np.uint8), (8, 8))
    pixels = np.array(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))))
    assert (pixels[2:4] == KIND_COLORS[GAINED]).all()
    assert len(np.unique(pixels[4:].reshape(-1, 3), axis=0)) == 1 and pixels[5, 5, 0] > 150


def test_the_page_shows_the_most_changed_and_needs_nothing_else(tmp_path: Path) -> None:
    """Image, both labels and changes of the chosen images, most changed first; no script and no address."""
    store, labels = Store(tmp_path), drawn_labels()
    other = changed(changed(labels, "p02", 0.3), "p04", 0.9)
    one, two = (LabelSet.of_artifact(draft_of(store, x, labels).labels, store.root) for x in (labels, other))
    page = comparison_page(compare(one, two), one, two, threshold=0.05, pictures=1, side=40)
    assert page.count("<img") == 4 and "p04" in page and "p02" not in page
    assert "The 1 most changed of 2." in page
    assert not re.search(r"<script|https?://|@import|url\(", page)


def test_the_page_of_equal_sets_says_so(tmp_path: Path) -> None:
    """Without changes there is a sentence instead of pictures."""
    one = label_set(tmp_path, drawn_labels(), title="<one>")
    page = comparison_page(compare(one, one), one, one, threshold=0.05, pictures=4, side=40)
    assert "No image that both hold has another label" in page and "<img" not in page
    assert "<one>" not in page and "&lt;one&gt;" in page


def test_sets_without_images_are_shown_without_them(tmp_path: Path) -> None:
    """Folders of labels are compared in pictures, too."""
    one = label_set(tmp_path / "1", {"a": square(0, 0, 1, 1)})
    two = label_set(tmp_path / "2", {"a": square(0, 3, 1, 255)})
    page = comparison_page(compare(one, two), one, two, threshold=0.05, pictures=4, side=40)
    assert page.count("<img") == 3 and "class 3" in page and "image</span> <b>not made</b>" in page
