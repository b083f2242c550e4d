"""Tags in every format: the same tags are read from all, each is recognized, and another one is refused with a hint."""

import json
from pathlib import Path
from typing import get_args

import pytest

from tag2mask.configs.sections.data import FOLDER_FORMATS, TagsFormat
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.finding import find_tags
from tag2mask.tasks.tags.formats import BY_NAME, FORMATS, read_tags, recognize
from tag2mask.tasks.tags.readers.class_names import read_names
from tag2mask.tasks.tags.readers.folders import images_below
from tag2mask.tasks.tags.readers.folders import read as read_folders
from tests.tasks.drawn_files import save_image
from tests.tasks.tags.written_tags import NAMES, TAGS, WRITERS, folders, label_studio, numbers, words, yolo

FORMAT_OF = {"panoptic": "coco", "hugging_face_objects": "hugging_face"}


def test_every_format_of_the_settings_has_its_record() -> None:
    """The settings and the registry name the same formats."""
    assert {one.name for one in FORMATS} == set(get_args(TagsFormat)) - {"auto"} and len(BY_NAME) == len(FORMATS)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_tags_are_read_from_every_format(tmp_path: Path, kind: str) -> None:
    """Each format is recognized and gives what was written; names of two words get a hyphen, which is reported."""
    path, form = WRITERS[kind](tmp_path), FORMAT_OF.get(kind, kind)
    found = recognize(path)
    assert found is not None and found.name == form
    read = read_tags(path, found.name)
    assert read.tags == TAGS and not read.untagged
    if kind not in ("csv", "voc"):  # whose classes here are one word
        assert "'traffic light' as 'traffic-light'" in " ".join(read.notes)
    if form not in FOLDER_FORMATS:
        assert read_tags(path).tags == TAGS
        assert read_tags(path, only={"c", "x"}).tags == {"c": TAGS["c"]}


@pytest.mark.parametrize("kind", WRITERS)
def test_init_finds_each_format_beside_the_images(tmp_path: Path, kind: str) -> None:
    """What lies beside a folder of images, or in it, is found with its format."""
    images = tmp_path / "images"
    if kind == "folders":
        images = folders(tmp_path)
    elif kind == "labelme":
        images = WRITERS[kind](tmp_path)
    else:
        save_image(images / "a.jpg")
        WRITERS[kind](tmp_path)
    found = find_tags(images)
    assert found is not None and found.format == FORMAT_OF.get(kind, kind) and found.read.tags == TAGS
    assert not found.others


def test_what_holds_no_tags_is_passed_over(tmp_path: Path) -> None:
    """COCO's captions are no tags, its instances are, those of this folder first; a table that is wrong is mended."""
    save_image(tmp_path / "val" / "a.jpg")
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "category_id": 1}]}
    (tmp_path / "annotations").mkdir()
    for name, categories in {"captions_val": [], "instances_train": ["cow"], "instances_val": ["cat"]}.items():
        named = {"categories": [{"id": 1, "name": one} for one in categories]} if categories else {}
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps({**content, **named}))
    found = find_tags(tmp_path / "val")
    assert found is not None and found.path.name == "instances_val.json" and found.read.tags == {"a": ("cat",)}
    for name in ("instances_val.json", "instances_train.json"):
        (tmp_path / "annotations" / name).write_text('{"images": []}')
    with pytest.raises(BadTable, match="name them with --tags"):
        find_tags(tmp_path / "val")
    (tmp_path / "labels.csv").write_text("image,labels\n")
    with pytest.raises(BadTable, match=r"labels\.csv: unknown column 'image'"):
        find_tags(tmp_path / "val")


def test_the_background_of_a_panoptic_file_is_no_tag(tmp_path: Path) -> None:
    """What `export --format coco_panoptic` says of background and ignored pixels is no class; a sky of others is."""
    named = {"cat": "object", "background": "background", "ignored": "void", "sky": "background"}
    categories = [{"id": n, "name": name, "supercategory": kind} for n, (name, kind) in enumerate(named.items(), 1)]
    segments = [{"id": n, "category_id": n} for n in (1, 2, 3, 4)]
    image = {"id": 1, "file_name": "a.jpg"}
    content = {"images": [image], "categories": categories, "annotations": [{"image_id": 1, "segments_info": segments}]}
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    assert read_tags(tmp_path / "panoptic.json").tags == {"a": ("cat", "sky")}


def test_a_card_with_line_ends_of_windows_names_classes(tmp_path: Path) -> None:
    """The header of a dataset card is found whatever its line ends."""
    card = "---\ndataset_info:\n  features:\n  - dtype:\n      class_label:\n        names: [cat, dog]\n---\ntext\n"
    (tmp_path / "README.md").write_bytes(card.replace("\n", "\r\n").encode())
    assert read_names(tmp_path / "README.md") == ("cat", "dog")


def test_what_else_holds_tags_is_reported(tmp_path: Path) -> None:
    """Where two files hold tags the table is taken, and the other is named."""
    save_image(tmp_path / "images" / "a.jpg")
    WRITERS["csv"](tmp_path)
    other = WRITERS["coco"](tmp_path)
    found = find_tags(tmp_path / "images")
    assert found is not None and (found.format, found.others) == ("csv", (other,))
    chosen = find_tags(tmp_path / "images", other)
    assert chosen is not None and (chosen.format, chosen.path) == ("coco", other)
    assert find_tags(save_image(tmp_path / "bare" / "images" / "a.jpg").parent) is None


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in FORMAT_OF])
@pytest.mark.parametrize("wanted", [form for form in BY_NAME if form != "folder_paths"])
def test_another_format_is_refused_with_what_it_looks_like(tmp_path: Path, kind: str, wanted: TagsFormat) -> None:
    """A format that the settings name wrongly is refused, and the right one is reported."""
    path = WRITERS[kind](tmp_path)
    if wanted == kind or (wanted, kind) == ("csv", "hugging_face"):
        return
    with pytest.raises(BadTable, match=f"{path.name}: is not .*; it looks like .*: write dataset.tags_format: {kind}"):
        read_tags(path, wanted)


def test_a_folder_of_nothing_that_is_known_is_refused(tmp_path: Path) -> None:
    """The formats that are known are listed, and folders of images must be asked for."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadTable, match=r"empty: holds no tags in a format that is known \(hugging_face: metadata"):
        read_tags(tmp_path / "empty")
    with pytest.raises(BadTable, match="holds images in folders; .* write dataset.tags_format: folders"):
        read_tags(folders(tmp_path))
    with pytest.raises(BadTable, match="holds no tags in a format that is known"):
        find_tags(tmp_path, tmp_path / "empty")


def test_an_image_in_several_folders_has_the_tags_of_all(tmp_path: Path) -> None:
    """Folders on the way are tags, equal files are one image, and different ones of a name need their paths."""
    tree = tmp_path / "tree"
    save_image(tree / "animal" / "cat" / "1.png", 1)
    save_image(tree / "night" / "1.png", 1)
    save_image(tree / "animal" / "dog" / "2.png", 2)
    assert read_folders(tree, False).tags == {"1": ("animal", "cat", "night"), "2": ("animal", "dog")}
    assert set(images_below(tree, False)) == {"1", "2"}
    save_image(tree / "night" / "2.png", 3)
    with pytest.raises(
        BadTable, match="animal/dog/2.png and night/2.png are different images of one id; .*folder_paths"
    ):
        read_folders(tree, False)
    assert read_folders(tree, True).tags["night__2"] == ("night",)
    found = find_tags(tree)
    assert found is not None and found.format == "folder_paths" and len(found.read.tags) == 4
    save_image(tree / "3.png")
    with pytest.raises(BadTable, match="3.png: lies in no folder, so it has no tag"):
        images_below(tree, True)


@pytest.mark.parametrize("name", ["data.yaml", "classes.txt", "dataset.yaml"])
def test_names_of_numbered_classes_lie_beside_the_labels(tmp_path: Path, name: str) -> None:
    """YOLO's names are found in the folder above its labels, or are given."""
    labels = yolo(tmp_path)
    (labels / "classes.txt").unlink()
    with pytest.raises(BadTable, match="labels: its labels are numbers, .* by dataset.tag_names, e.g. data.yaml"):
        read_tags(labels, "yolo")
    content = "\n".join(NAMES) if name.endswith(".txt") else f"train: x\nnames: [{', '.join(NAMES)}]\n"
    (tmp_path / name).write_text(content)
    assert read_tags(labels, names=tmp_path / name).tags == TAGS
    save_image(tmp_path / "images" / "a.jpg")
    found = find_tags(tmp_path / "images")
    assert found is not None and found.names == tmp_path / name


def test_numbers_in_metadata_are_named_by_the_dataset_card(tmp_path: Path) -> None:
    """A dataset card holds the names once; without it numbers are refused."""
    lines = [json.dumps({"file_name": f"{i}.jpg", "labels": numbers(i)}) for i in TAGS]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    named = "\n".join(f"            '{n}': {name}" for n, name in enumerate(NAMES))
    labels = "  - name: labels\n    sequence:\n      class_label:\n        names:"
    card = f"---\ndataset_info:\n  features:\n{labels}\n{named}\n---\n# x"
    with pytest.raises(BadTable, match=r"line 1: its labels are numbers; name .* by dataset\.tag_names"):
        read_tags(tmp_path / "metadata.jsonl")
    (tmp_path / "README.md").write_text(card)
    assert read_tags(tmp_path / "metadata.jsonl", names=tmp_path / "README.md").tags == TAGS
    save_image(tmp_path / "a.jpg")
    found = find_tags(tmp_path)
    assert found is not None and found.names == tmp_path / "README.md" and found.read.tags == TAGS


def test_metadata_in_a_table_has_one_label_a_line(tmp_path: Path) -> None:
    """A CSV of Hugging Face is reported from ours by its first line; several labels in a field are refused."""
    path = tmp_path / "metadata.csv"
    path.write_text('file_name,label\na.jpg,cat\nb.jpg,"[""cat"", ""dog""]"\n')
    assert read_tags(path).tags == {"a": ("cat",), "b": ("cat", "dog")}
    path.write_text('file_name,label\na.jpg,"cat,dog"\n')
    with pytest.raises(BadTable, match=r"line 2: 'cat,dog': a CSV holds one label a line; write metadata.jsonl"):
        read_tags(path)


@pytest.mark.parametrize("kind", ["coco", "label_studio", "cvat", "hugging_face", "yolo", "labelme"])
def test_an_image_without_tags_is_distinguished(tmp_path: Path, kind: str) -> None:
    """An image that is listed and has no annotation is no error of the file: it is handed on by name."""
    path = WRITERS[kind](tmp_path)
    if kind == "coco":
        content = json.loads(path.read_text())
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 12]
        path.write_text(json.dumps(content))
    elif kind == "label_studio":
        tasks = json.loads(path.read_text())
        tasks[2]["annotations"] = []
        path.write_text(json.dumps(tasks))
    elif kind == "cvat":
        path.write_text(path.read_text().replace('<tag label="dog"/>', ""))
    elif kind == "hugging_face":
        path.write_text(path.read_text().replace('["dog"]', "[]"))
    elif kind == "yolo":
        (path / "c.txt").write_text("")
    else:
        (path / "c.json").write_text('{"shapes": [], "flags": {}}')
    read = read_tags(path)
    assert read.tags == {i: TAGS[i] for i in "ab"} and list(read.untagged) == ["c"]


@pytest.mark.parametrize("kind", ["labels", "bitmasklabels", "vectorlabels", "brushlabels", "keypointlabels"])
def test_regions_of_label_studio_name_classes_whatever_their_shape(tmp_path: Path, kind: str) -> None:
    """The labels of a region are tags of its image, also of kinds of region that came later."""
    path = label_studio(tmp_path)
    path.write_text(path.read_text().replace("brushlabels", kind))
    assert read_tags(path).tags == TAGS


@pytest.mark.parametrize("kind", ["cvat", "label_studio"])
def test_masks_of_ignored_pixels_are_no_tag(tmp_path: Path, kind: str) -> None:
    """What our export calls ignored is left out, and said; a class of that name beside it is a tag."""
    (tmp_path / "a").mkdir()
    if kind == "cvat":
        label = "<label><name>{}</name></label>"
        labels = "".join(label.format(name) for name in ("cat", "ignored", "ignored-pixels"))
        shapes = "".join(f'<mask label="{name}" rle="1" left="0"/>' for name in ("cat", "ignored", "ignored-pixels"))
        text = f'<annotations><meta><labels>{labels}</labels></meta><image name="a.jpg">{shapes}</image></annotations>'
    else:
        brushes = [
            {"type": "brushlabels", "value": {"brushlabels": [name]}} for name in ("cat", "ignored", "ignored-pixels")
        ]
        text = json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": brushes}]}])
    path = tmp_path / ("a.xml" if kind == "cvat" else "a.json")
    path.write_text(text)
    read = read_tags(path)
    assert read.tags == {"a": ("cat", "ignored")} and "labeled 'ignored-pixels' are no tag" in " ".join(read.notes)


def test_addresses_of_a_storage_are_whole(tmp_path: Path) -> None:
    """`#` and `?` belong to a name in a storage, and end it in an address of the web; what is none is named."""
    path = tmp_path / "a.json"

    def of(*addresses: str) -> list[str]:
        path.write_text(json.dumps([{"data": {"image": one}, "annotations": []} for one in addresses]))
        return list(read_tags(path, "label_studio").untagged)

    assert of("s3://bucket/a#1.jpg", "s3://bucket/a#2.jpg") == ["a#1", "a#2"]
    assert of("https://host/b.jpg?size=1#x", "/data/local-files/?d=photos/c.jpg") == ["b", "c"]
    with pytest.raises(BadTable, match=r"task 0: 'https://\[cam/a.jpg' is no address"):
        of("https://[cam/a.jpg")


def test_a_field_may_hold_any_separator_of_lines(tmp_path: Path) -> None:
    """Only line ends separate the lines of a metadata table."""
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,label,caption\na.jpg,cat,one\u2028two\x0cthree\n", encoding="utf-8")
    assert read_tags(path).tags == {"a": ("cat",)}


def test_names_are_read_as_they_are(tmp_path: Path) -> None:
    """A text file names a class a line, and words stay together."""
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n\n")
    assert read_names(tmp_path / "classes.txt") == NAMES
    assert words("b") == ["cat", "traffic light"]
