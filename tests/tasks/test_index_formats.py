"""The index of a dataset whose tags come in other formats: the same index, by content in the key, nothing left out."""

import json
from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.schema import Dataset
from tag2mask.configs.sections.data import FOLDER_FORMATS
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.init import Sources, packaged, write_settings
from tag2mask.tasks import index_dataset, index_test
from tag2mask.tasks.building.build import input_digest
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.ingest import BadDataset
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_files import files_of, save_image
from tests.tasks.indexed_folder import IN_PAIRS, index, metrics, table
from tests.tasks.tags.written_tags import TAGS, WRITERS, folders

ROOMY = {"minimum_images": 1}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images, and nothing that says what they show."""
    for seed, image_id in enumerate(TAGS):
        save_image(tmp_path / "raw" / "photos" / f"{image_id}.jpg", seed)
    return tmp_path / "raw"


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in FOLDER_FORMATS])
def test_every_format_gives_the_index_that_the_table_gives(photos: Path, kind: str) -> None:
    """The bytes of the index do not depend on the format of the tags."""
    WRITERS["csv"](photos)
    path = WRITERS[kind](photos / "other")
    expected = files_of(index(photos, "expected", **ROOMY))
    assert files_of(index(photos, "out", tags=str(path), **ROOMY)) == expected


def test_a_tree_of_folders_is_indexed(tmp_path: Path) -> None:
    """The images of a tree are taken in once each, with the folders' names as tags, and test images likewise."""
    tree = folders(tmp_path)
    out = tmp_path / "out"
    config = Dataset(root=tmp_path, images="tree", tags="tree", tags_format="folders", **ROOMY)
    index_dataset.run(config, out, IN_PAIRS, image_tree=tree)
    found = ImageIndex.read(out)
    assert {r.image_id: tuple(found.classes[n - 1] for n in r.tags) for r in found} == TAGS
    save_image(tree / "night" / "t.png", 9)
    (tmp_path / "test.txt").write_text("t\n")
    read = {"on_bad_image": "error", "maximum_megapixels": 1.0, "tags_format": "folders"}
    split = tmp_path / "test.txt"
    index_test.run(Section(), tmp_path / "test", IN_PAIRS, dataset=out, image_tree=tree, test_split=split, **read)
    assert ImageIndex.read(tmp_path / "test").ids == ("t",)


def test_images_without_a_tag_are_set_aside_by_name_or_end_the_run(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One listed without an annotation and one that is not listed are both named, with the way out."""
    path = WRITERS["coco"](photos)
    content = json.loads(path.read_text())
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 12]
    path.write_text(json.dumps(content))
    save_image(photos / "photos" / "d.jpg", 7)
    with pytest.raises(BadDataset, match=r"instances\.json: 2 images have no tag .*: c, d; .*on_bad_image: skip"):
        index(photos, tags=path.name, **ROOMY)
    out = index(photos, "skipped", tags=path.name, on_bad_image="skip", **ROOMY)
    assert ImageIndex.read(out).ids == ("a", "b")
    assert table(out / "set_aside.csv") == [
        {"source": image_id, "reason": "has no tag in instances.json; give it one"} for image_id in "cd"
    ]
    assert metrics(out)["set_aside"] == 2 and "2 images without a tag are set aside: c, d" in caplog.text


@pytest.mark.parametrize(
    "changes, fault",
    [
        (["dataset.tags_format=folders"], "tags must be the folder of the images: write tags: 'images'"),
        (["dataset.tags_format=coco", "dataset.tag_names=x"], "tag_names is not read by tags_format 'coco': delete it"),
        (["dataset.tags_format=yollo"], "dataset.tags_format: Input should be 'auto', 'csv'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: list[str], fault: str) -> None:
    """Formats and paths that do not go together are named before anything is read."""
    with pytest.raises(ConfigError, match=fault):
        load_config(packaged("demo.yaml"), changes)


def test_what_tags_are_read_from_enters_the_key_by_content(photos: Path) -> None:
    """A changed label file, names file, or folder of a tree changes the digest of its input; another file does not."""
    store, labels = Store(photos.parent / "store").create(), WRITERS["yolo"](photos)
    seen = {input_digest(store, "index_dataset", "tags", labels)}
    (labels / "preview.bin").write_bytes(b"x")
    assert {input_digest(store, "index_dataset", "tags", labels)} == seen
    for name in ("a.txt", "classes.txt"):
        (labels / name).write_text((labels / name).read_text() + " ")
        seen.add(input_digest(store, "index_dataset", "tags", labels))
    assert len(seen) == 3
    tree = folders(photos)
    before = input_digest(store, "index_dataset", "image_tree", tree)
    (tree / "cat" / "a.png").rename(tree / "dog" / "a.png")
    assert input_digest(store, "index_dataset", "image_tree", tree) != before
    tags = ["dataset.tags=images", "dataset.tags_format=folders", "dataset.test_split=t.txt"]
    nodes = {node.name: node for node in build_dag(load_config(packaged("demo.yaml"), tags))}
    assert set(nodes["index_dataset"].inputs) >= {"image_tree"} and "tags" not in nodes["index_dataset"].inputs
    assert "image_tree" in nodes["index_test"].inputs
    assert nodes["index_dataset"].hashed["tags_format"] == "folders"


@pytest.mark.parametrize("kind", ["coco", "folders", "yolo"])
def test_init_writes_settings_that_name_the_format(photos: Path, kind: str) -> None:
    """What was found is reported and stands in the file, and the run that it describes has its inputs."""
    images = folders(photos) if kind == "folders" else photos / "photos"
    if kind != "folders":
        WRITERS[kind](photos)
    out = photos / "run.yaml"
    reported = write_settings(Sources(images), out)
    config = load_config(out)
    assert config.dataset.tags_format == kind and f"tags: {reported.partition('tags: ')[2]}" in reported
    assert "3 images, 3 of them tagged" in reported and "read 'traffic light' as 'traffic-light'" in reported
    assert "'dog' has 1, 'traffic-light' has 1" in reported  # too few to run, and said so
    assert build_dag(config)
