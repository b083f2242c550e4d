"""Bad input of every reader of tags: a clear error with its place, or an image named apart; never a wrong tag."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.index_dataset import class_names
from tag2mask.tasks.tags.formats import read_tags
from tests.tasks.tags.written_tags import TAGS, WRITERS, yolo

FILES = ("coco", "panoptic", "label_studio", "cvat", "hugging_face", "hugging_face_objects")
IN_FOLDERS = {"voc": "b.xml", "yolo": "b.txt", "labelme": "b.json"}
"""Format in a folder -> the file that is spoiled."""
FORMAT_OF = {"panoptic": "coco", "hugging_face_objects": "hugging_face"}
KINDS = (*FILES, *IN_FOLDERS)


def spoiled(folder: Path, kind: str, spoil: Callable[[bytes], bytes]) -> tuple[Path, Path]:
    """The tags in a format with one file spoiled: what is read, and that file."""
    path = WRITERS[kind](folder)
    file = path / IN_FOLDERS[kind] if kind in IN_FOLDERS else path
    file.write_bytes(spoil(file.read_bytes()))
    return path, file


def refusal(path: Path, kind: str) -> str:
    """The message with which tags are refused."""
    with pytest.raises(BadTable) as refused:
        read_tags(path, FORMAT_OF.get(kind, kind))  # type: ignore[arg-type]
    return str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    """Half a file is refused by name, with the line where it is one of text."""
    path, file = spoiled(tmp_path, kind, lambda data: data[: 8 if kind == "yolo" else len(data) // 2 - 3])
    message = refusal(path, kind)
    assert str(file) in message and re.search(r"line \d+", message) and "export it again" in message


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_is_named(tmp_path: Path, kind: str) -> None:
    """An empty file is refused by name; YOLO's mean an image without a tag, which is distinguished."""
    path, file = spoiled(tmp_path, kind, lambda data: b"")
    if kind == "yolo":
        assert list(read_tags(path).untagged) == ["b"]
        return
    assert file.name in refusal(path, kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "yolo"])
def test_another_encoding_is_refused(tmp_path: Path, kind: str) -> None:
    """Latin-1 where UTF-8 belongs is refused by name and with the line."""
    path, file = spoiled(tmp_path, kind, lambda data: data.replace(b"cat", b"L\xf6we"))
    message = refusal(path, kind)
    assert str(file) in message and "line 1" in message


@pytest.mark.parametrize("kind", KINDS)
def test_utf_16_is_refused_or_read(tmp_path: Path, kind: str) -> None:
    """A file in UTF-16, which only XML may announce, is refused; never is a class read from its bytes."""
    path, file = spoiled(tmp_path, kind, lambda data: data.decode().encode("utf-16"))
    if file.suffix == ".xml":
        form = FORMAT_OF.get(kind, kind)
        assert kind != "voc" or read_tags(path, form).tags == TAGS  # type: ignore[arg-type]
        return
    assert file.name in refusal(path, kind)


OUTSIDE = {
    "csv": ("b,", "../b,"),
    "coco": ("val2017/b.jpg", "../../b.jpg"),
    "panoptic": ('"file_name": "b.jpg"', '"file_name": "/b.jpg"'),
    "label_studio": ("/data/upload/1/0f3a2b1c-b.jpg", "/data/local-files/?d=../b.jpg"),
    "cvat": ("set/b.jpg", "..\\\\b.jpg"),
    "hugging_face": ('"b.jpg"', '"C:/b.jpg"'),
    "hugging_face_objects": ('"b.jpg"', '"x/../../b.jpg"'),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, kind: str) -> None:
    """An image outside of its folder is refused with its place in the file."""
    before, after = OUTSIDE[kind]
    path = WRITERS[kind](tmp_path)
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    assert re.search("leaves the folder of the images|is not an image id", refusal(path, kind))


def _json_change(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return spoil


def _replace(before: str, after: str) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(before.encode(), after.encode(), 1)


UNKNOWN: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "category": (
        "coco",
        _json_change(lambda c: c["annotations"][1].update(category_id=99)),
        r"annotations\[1\]: category_id 99 is not",
    ),
    "image": (
        "coco",
        _json_change(lambda c: c["annotations"][2].update(image_id=99)),
        r"annotations\[2\]: image_id 99 is not",
    ),
    "image is a list": (
        "coco",
        _json_change(lambda c: c["annotations"][2].update(image_id=[])),
        r"annotations\[2\]: image_id \[\] is not",
    ),
    "segment": (
        "panoptic",
        _json_change(lambda c: c["annotations"][1]["segments_info"][0].update(category_id=7)),
        r"annotations\[1\]: segments_info\[0\]: category_id 7",
    ),
    "no categories": ("coco", _json_change(lambda c: c.pop("categories")), "'categories' is missing, not list"),
    "category twice": (
        "coco",
        _json_change(lambda c: c["categories"][1].update(id=0)),
        r"categories\[1\]: id 0 stands there a second",
    ),
    "no name": ("coco", _json_change(lambda c: c["categories"][1].update(name=" ")), "is not the name of a class"),
    "same id": (
        "coco",
        _json_change(lambda c: c["images"][1].update(file_name="other/a.png")),
        "has the id 'a', and so has",
    ),
    "same as one word": (
        "coco",
        _json_change(lambda c: c["categories"][0].update(name="traffic-light")),
        "as one word; rename one",
    ),
    "no label": (
        "cvat",
        _replace('<tag label="cat"/>', "<tag/>"),
        r"image 0 \(set/a.jpg\): label '' of a <tag> is none of",
    ),
    "label": (
        "cvat",
        _replace('<tag label="cat"/>', '<tag label="cow"/>'),
        "label 'cow' of a <tag> is none of the task's labels",
    ),
    "video": (
        "cvat",
        _replace("<version>", "<track/><version>"),
        "holds tracks of a video; export as 'CVAT for images 1.1'",
    ),
    "class": (
        "yolo",
        _replace("2 0.5", "17 0.5"),
        r"b\.txt, line 1: class 17 is not in .*classes\.txt, which names 0 to 2",
    ),
    "negative": ("yolo", _replace("2 0.5", "-1 0.5"), r"b\.txt, line 1: '-1 0.5 .*' is not a line of YOLO's"),
    "not a number": ("yolo", _replace("2 0.5", "2 nan"), r"b\.txt, line 1: .* is not a line of YOLO's"),
    "shape": (
        "labelme",
        _json_change(lambda c: c["shapes"][0].pop("label")),
        r"b\.json: shapes\[0\]: 'label' is missing, not str",
    ),
    "flags": ("labelme", _json_change(lambda c: c.update(flags=[1])), r"b\.json: 'flags' is list"),
    "result": (
        "label_studio",
        _json_change(lambda c: c[1]["annotations"][0]["result"][0].pop("value")),
        r"task 1: annotations\[0\]: result\[0\]: 'value'",
    ),
    "choice": (
        "label_studio",
        _json_change(lambda c: c[1]["annotations"][0]["result"][0]["value"].update(choices=[3])),
        r"result\[0\]: 3 is not the name of a class",
    ),
    "no task image": (
        "label_studio",
        _json_change(lambda c: c[1].update(data={"text": "x"})),
        "task 1: 'data' names 0 images",
    ),
    "minimal": (
        "label_studio",
        _json_change(lambda c: c.insert(0, {"annotation_id": 1, "image": "a.jpg"})),
        "task 0: is JSON-MIN",
    ),
    "no column": ("hugging_face", _replace('"tags"', '"words"'), r"line 1: has none of the columns tags, labels"),
    "no file name": ("hugging_face", _replace('"file_name"', '"image"'), r"line 1: has no 'file_name'"),
    "null": ("hugging_face", _replace('["cat"]', "[null]"), r"line 1: None is not the name of a class"),
}


@pytest.mark.parametrize("fault", UNKNOWN)
def test_what_does_not_fit_is_named_with_its_place(tmp_path: Path, fault: str) -> None:
    """An unknown class or image, and what the layout lacks, is refused with the place and what is wrong there."""
    kind, spoil, message = UNKNOWN[fault]
    path, file = spoiled(tmp_path, kind, spoil)
    reported = refusal(path, kind)
    assert re.search(message, reported) and file.name in reported


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' * 50_000, "[" + "9" * 5000 + "]", "[]" * 2, "nul"])
def test_odd_json_is_refused(tmp_path: Path, text: str) -> None:
    """Depth without bound, numbers without bound, and what only begins like JSON end in an error of one line."""
    (tmp_path / "tags.json").write_text(text)
    for kind in ("coco", "label_studio"):
        assert "tags.json" in refusal(tmp_path / "tags.json", kind)


def test_entities_do_not_explode(tmp_path: Path) -> None:
    """XML whose entities grow without bound is refused."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = (
        f'<!DOCTYPE annotations [<!ENTITY e0 "xxxxxxxxxx">{entities}]><annotations><image name="&e11;"/></annotations>'
    )
    (tmp_path / "annotations.xml").write_text(text)
    assert "is not well-formed XML" in refusal(tmp_path / "annotations.xml", "cvat")


@pytest.mark.parametrize("kind", ["coco", "label_studio", "cvat", "hugging_face", "yolo", "labelme"])
def test_ten_thousand_classes_are_read_and_then_refused(tmp_path: Path, kind: str) -> None:
    """So many classes are read in no time; that labels hold 254 is said by what numbers them."""
    names, path = [f"c{n}" for n in range(10_000)], tmp_path / "tags.json"
    if kind == "coco":
        categories = [{"id": n, "name": name} for n, name in enumerate(names)]
        annotations = [{"image_id": 0, "category_id": n} for n in range(len(names))]
        content: Any = {
            "images": [{"id": 0, "file_name": "a.jpg"}],
            "categories": categories,
            "annotations": annotations,
        }
        path.write_text(json.dumps(content))
    elif kind == "label_studio":
        result = [{"type": "choices", "value": {"choices": names}}]
        path.write_text(json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": result}]}]))
    elif kind == "cvat":
        path = tmp_path / "annotations.xml"
        tags = "".join(f'<tag label="{name}"/>' for name in names)
        path.write_text(f'<annotations><image name="a.jpg">{tags}</image></annotations>')
    elif kind == "hugging_face":
        path = tmp_path / "metadata.jsonl"
        path.write_text(json.dumps({"file_name": "a.jpg", "tags": names}))
    elif kind == "labelme":
        path = tmp_path
        (path / "a.json").write_text(json.dumps({"shapes": [{"label": name} for name in names]}))
    else:
        path = yolo(tmp_path)
        (path / "classes.txt").write_text("\n".join(names))
        (path / "a.txt").write_text("".join(f"{n} 0.5 0.5 1 1\n" for n in range(len(names))))
    tags = read_tags(path, only={"a"}).tags
    assert tags == {"a": tuple(sorted(names))}
    with pytest.raises(ValueError, match="10000 classes, but an 8-bit label holds at most 254; merge some"):
        class_names(tags, None, path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("names: [cat, 3]\n", "class 1 is 3, not a name; put it in quotes"),
        ("names: {0: cat, 2: dog}\n", "must go from 0 to 1 without a gap"),
        ("names: {x: cat}\n", "the keys must be the numbers"),
        ("nc: 3\n", "must be a list of the classes' names"),
        ("- a\n", "holds no keys such as 'names:'"),
        ("names: [a\n", "data.yaml: "),
        ("", "data.yaml: is empty"),
    ],
)
def test_wrong_names_of_numbered_classes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """A file of names with gaps, without names, or that is no YAML is refused by name."""
    labels = yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(BadTable, match=message):
        read_tags(labels, names=tmp_path / "data.yaml")
    (tmp_path / "README.md").write_text("# no header\n")
    with pytest.raises(BadTable, match="README.md: has no header"):
        read_tags(labels, names=tmp_path / "README.md")
    (tmp_path / "names.txt").write_text("a\n\nb\n")
    with pytest.raises(BadTable, match="names.txt, line 2: is blank between names"):
        read_tags(labels, names=tmp_path / "names.txt")
