"""Tables of tags and VOC's annotations: what is right is read, what is wrong is refused with place and remedy."""

from pathlib import Path

import pytest

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.formats import read_tags
from tests.tasks.drawn_files import write_annotation


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write a table as it stands."""
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_table_is_read(tmp_path: Path) -> None:
    """Tags come once each and in alphabetical order; column order, blank lines, quotes and a BOM do not matter."""
    text = 'labels,image_id\r\n"dog  cat dog","x, 1"\r\n\r\nhorse,007\r\n'
    assert read_tags(table(tmp_path, text, "utf-8-sig")).tags == {"x, 1": ("cat", "dog"), "007": ("horse",)}


def test_usual_class_names_pass(tmp_path: Path) -> None:
    """Names with hyphens, underscores, dots, slashes or brackets are labels."""
    names = ("T.V.", "cell-phone", "cup/mug", "hair_drier", "pottedplant", "tv(monitor)")
    assert read_tags(table(tmp_path, f"image_id,labels\na,{' '.join(names)}\n")).tags == {"a": names}


@pytest.mark.parametrize(
    "text, message",
    [
        ("image_id,labels,weight\na,cat,1\n", "unknown column 'weight'; the columns are image_id,labels"),
        ("image_id\na\n", "first line must be image_id,labels"),
        ("image_id,image_id\na,b\n", "first line must be image_id,labels"),
        ("", "first line must be image_id,labels"),
        ("image_id,labels\na,cat\na,dog\n", "line 3: id 'a' stands there a second time"),
        ("image_id,labels\na,cat,dog\n", "line 2: has 3 fields, not 2; separate several labels by blanks"),
        ("image_id,labels\na,ball;box\n", "line 2: 'ball;box': separate several labels by blanks"),
        ("image_id,labels\na,cat\nb,ball | box\n", r"line 3: 'ball \| box': separate several labels by blanks"),
        ('image_id,labels\na,"ball, box"\n', "line 2: 'ball, box': separate several labels by blanks"),
        ("image_id,labels\n../a,cat\n", r"line 2: '\.\./a' is not an image id; write the file name without folder"),
        ("image_id,labels\nb/a,cat\n", "line 2: 'b/a' is not an image id"),
        ('image_id,labels\n"a\nb",cat\n', r"line 2: 'a\\nb' is not an image id"),
    ],
)
def test_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Each fault of a table is named with its line and its remedy."""
    with pytest.raises(BadTable, match=f"labels.csv.*{message}"):
        read_tags(table(tmp_path, text))


def test_unreadable_table_is_refused(tmp_path: Path) -> None:
    """A missing table and one in another encoding are named."""
    with pytest.raises(BadTable, match=r"labels\.csv: no such file; it must hold the columns"):
        read_tags(tmp_path / "labels.csv")
    with pytest.raises(BadTable, match=r"labels\.csv: is not a table in UTF-8 text"):
        read_tags(table(tmp_path, "image_id,labels\na,Löwe\n", "latin-1"))


def test_annotations_are_read(tmp_path: Path) -> None:
    """The names of objects are tags, those of their parts are not; difficult ones count only where all are."""
    write_annotation(tmp_path / "a.xml", ("person", 0), ("dog", 0), ("cat", 1), ("person", 0))
    write_annotation(tmp_path / "b.xml", ("cat", 1))
    write_annotation(tmp_path / "._a.xml").write_bytes(b"\0")
    assert read_tags(tmp_path).tags == {"a": ("dog", "person"), "b": ("cat",)}


def test_only_the_annotations_that_matter_are_opened(tmp_path: Path) -> None:
    """Annotations of other images may be broken."""
    write_annotation(tmp_path / "a.xml", ("dog", 0))
    (tmp_path / "b.xml").write_text("<annotation>")
    assert read_tags(tmp_path, only={"a", "c"}).tags == {"a": ("dog",)}
    with pytest.raises(BadTable, match=r"b\.xml: is not well-formed XML"):
        read_tags(tmp_path)


def test_wrong_annotations_are_refused(tmp_path: Path) -> None:
    """A folder without annotations is named."""
    with pytest.raises(BadTable, match="is not VOC XML .a folder of <id>.xml"):
        read_tags(tmp_path, "voc")


def test_images_without_a_tag_are_listed(tmp_path: Path) -> None:
    """A line without labels and an annotation without objects list an image that has no tag, and say where."""
    read = read_tags(table(tmp_path, "image_id,labels\na,cat\nb, \n"))
    assert read.tags == {"a": ("cat",)} and list(read.untagged) == ["b"] and read.untagged["b"].endswith("line 3")
    with pytest.raises(BadTable, match="line 4: id 'b' stands there a second time"):
        read_tags(table(tmp_path, "image_id,labels\na,cat\nb, \nb,dog\n"))
    folder = tmp_path / "annotations"
    folder.mkdir()
    write_annotation(folder / "a.xml", ("dog", 0))
    write_annotation(folder / "b.xml")
    read = read_tags(folder)
    assert read.tags == {"a": ("dog",)} and read.untagged == {"b": str(folder / "b.xml")}


def test_classes_of_annotations_are_one_word(tmp_path: Path) -> None:
    """A class of several words gets hyphens, which is told."""
    write_annotation(tmp_path / "a.xml", ("dining table", 0))
    read = read_tags(tmp_path)
    assert read.tags == {"a": ("dining-table",)} and "'dining table' as 'dining-table'" in read.notes[0]
