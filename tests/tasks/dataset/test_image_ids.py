"""Image ids and the lists of them: what is right is read, what is wrong is refused with its place and the remedy."""

from pathlib import Path

import pytest

from tag2mask.tasks.dataset.image_ids import BadTable, checked_id, read_ids


@pytest.mark.parametrize("image_id", ["", ".", "..", "../a", "/a", "a/", "a\\b", ".a", "a\tb", "a\0b"])
def test_id_must_be_a_plain_name(image_id: str) -> None:
    """An id that could lead out of its folder, hide a file or break a list of ids is refused."""
    with pytest.raises(BadTable, match="here: .* is not an image id"):
        checked_id(image_id, "here")


@pytest.mark.parametrize("image_id", ["2007_000032", "a b", "a.b", "Löwe", "-", "007"])
def test_plain_names_are_ids(image_id: str) -> None:
    """Usual file names pass unchanged."""
    assert checked_id(image_id, "here") == image_id


def test_ids_of_a_split(tmp_path: Path) -> None:
    """A split keeps its order; blank lines do not count, nor the number after the id in VOC's lists per class."""
    (tmp_path / "train.txt").write_text("b\r\n\n a 1\nc -1\nd\t 0\n")
    assert read_ids(tmp_path / "train.txt") == ("b", "a", "c", "d")


def test_ids_with_blanks_stay_whole(tmp_path: Path) -> None:
    """An id ends at the end of its line; a number at its end belongs to it where there is such an id."""
    (tmp_path / "train.txt").write_text("a b\na b 2\na 1\nb  1\nc d -1\n")
    assert read_ids(tmp_path / "train.txt", {"a", "a 1", "b"}) == ("a b", "a b 2", "a 1", "b", "c d")


@pytest.mark.parametrize(
    "text, message",
    [("a\nb\na\n", "line 3: id 'a' already stands in line 1"), ("a\n../b\n", "line 2: .* is not an image id")],
)
def test_wrong_split_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A repeated id and a path in a split are named with their line."""
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(BadTable, match=f"train.txt, {message}"):
        read_ids(tmp_path / "train.txt")


def test_unreadable_split_is_refused(tmp_path: Path) -> None:
    """A missing split and one that is no text are named."""
    with pytest.raises(BadTable, match=r"train\.txt: no such file; it must hold one image id a line"):
        read_ids(tmp_path / "train.txt")
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadTable, match=r"train\.txt: is not UTF-8 text"):
        read_ids(tmp_path / "train.txt")
