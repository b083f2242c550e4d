"""Building image by image: what has not changed is taken over."""

from pathlib import Path

import pytest

from tag2mask.tasks.building import build as building
from tag2mask.tasks.building.build import Order
from tag2mask.tasks.building.image_keys import item_keys
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.artifact import Recipe
from tag2mask.tasks.store.journal import record_items
from tag2mask.tasks.store.parts import PARTS
from tag2mask.tasks.store.store import Store
from tests.tasks.store.build_bench import Bench, flip
from tests.tasks.store.toy_stages import (
    Toy,
    build_maps,
    contents,
    draw_images,
)


def test_ten_images_added_are_the_only_ones_processed(bench: Bench) -> None:
    """After ten images are added inference runs on those ten alone, and gives the same bytes as from scratch."""
    old = bench.maps()
    bench.processed()
    draw_images(bench.images, range(20))
    new = bench.maps()
    assert bench.processed() == [f"p{number:03}" for number in range(10, 20)]
    assert new.manifest["reused_images"] == 10
    assert contents(new) == contents(build_maps(bench.root.parent / "scratch", bench.images, Toy()))
    assert (new.path / "p000.bin").samefile(old.path / "p000.bin")
    assert bench.store.find("toy_maps", old.key, reread=True) is not None


def test_changed_and_removed_images_cost_what_changed(bench: Bench) -> None:
    """A changed image is processed alone, a removed one costs nothing; the old bytes find the old artifact."""
    old = bench.maps()
    bench.processed()
    text = (bench.images / "p004.txt").read_text()
    (bench.images / "p004.txt").write_text("another image")
    bench.maps()
    assert bench.processed() == ["p004"]
    (bench.images / "p004.txt").unlink()
    assert "p004" not in dict(bench.maps().items()) and bench.processed() == []
    (bench.images / "p004.txt").write_text(text)
    assert bench.maps() == old and bench.processed() == []


def test_nothing_is_taken_over_where_the_table_of_parts_was_changed(bench: Bench) -> None:
    """With one bit of its table turned over a result gives nothing: its digests, sizes, tags cannot be trusted."""
    old = bench.maps()
    bench.processed()
    flip(old.path / PARTS)
    draw_images(bench.images, range(11))
    assert bench.maps().manifest["reused_images"] == 0 and len(bench.processed()) == 11


def test_item_keys_narrow_per_image_inputs_only() -> None:
    """An image's key changes with its own part of an input and with the rest of the recipe, not with other images."""

    def keys(index: dict[str, str], model: str, factor: int, saliency: dict[str, str]) -> dict[str, str]:
        digests = {"index": str(index), "model": model, "saliency": str(saliency)}
        items = {"index": index.items(), "saliency": saliency.items()}
        return dict(item_keys(Recipe("toy", 1, {"factor": factor}, digests), items))

    maps = {"a": "s", "b": "s", "c": "s"}
    base = keys({"a": "1", "b": "2"}, "m", 1, maps)
    assert base.keys() == {"a", "b"} and base["a"] != base["b"]
    assert keys({"a": "1", "b": "9"}, "m", 1, maps) == {"a": base["a"], "b": keys({"b": "9"}, "m", 1, maps)["b"]}
    assert keys({"a": "1", "b": "9"}, "m", 1, maps)["b"] != base["b"]
    assert keys({"a": "1", "b": "2"}, "m", 1, {**maps, "b": "t"})["a"] == base["a"]
    for others in (keys({"a": "1", "b": "2"}, "n", 1, maps), keys({"a": "1", "b": "2"}, "m", 2, maps)):
        assert not set(others.values()) & set(base.values())
    assert not list(item_keys(Recipe("toy", 1, {}, {"model": "m"}), {}))


@pytest.mark.parametrize("stage", [name for name, stage in CATALOG.items() if stage.dataset_level])
def test_where_images_depend_on_each_other_nothing_is_taken_over(stage: str) -> None:
    """A map of a group has no key of its own image: another image in the group changes it."""
    index = {"dataset": [("a", "1"), ("b", "2")]}
    assert dict(item_keys(Recipe("infer_cams", 1, {}, {"dataset": "d"}), index)).keys() == {"a", "b"}
    assert not list(item_keys(Recipe(stage, 1, {}, {"dataset": "d"}), index))


def test_tags_and_splits_enter_no_image_of_an_index() -> None:
    """An image of a dataset is made of its own file: another table of tags or another split leaves its key."""
    images = {"images": [("a", "1"), ("b", "2")]}

    def keys(**others: str) -> dict[str, str]:
        return dict(item_keys(Recipe("index_dataset", 1, {}, {"images": "i", **others}), images))

    assert keys(tags="t") == keys(tags="u", train_split="s") == keys()
    assert dict(item_keys(Recipe("index_dataset", 2, {}, {"images": "i"}), images)) != keys()


def test_a_map_beside_a_file_of_the_same_name_is_read_again(tmp_path: Path) -> None:
    """The key of an image holds all its files: a map that changed is noticed beside a record that did not."""
    store, maps = Store(tmp_path / "store").create(), tmp_path / "maps"
    maps.mkdir()
    recipe = Recipe("predict_saliency", 1, {}, {"dataset": "d", "maps": "m"})
    order = Order(store.root, recipe, Toy(), {"maps": maps, "dataset": maps})
    found = []
    for content in (b"1", b"22"):
        for name in ("a.png", "a.json", "b.png"):
            (maps / name).write_bytes(content if name == "a.png" else b"same")
        found.append(dict(building._items(store, order)["maps"]))
    assert found[0].keys() == found[1].keys() == {"a", "b"}
    assert found[0]["a"] != found[1]["a"] and found[0]["b"] == found[1]["b"]


def test_what_may_pass_is_not_taken_over(tmp_path: Path) -> None:
    """A part that another attempt may make otherwise has no key, by which a later result would find it."""
    store, recipe = Store(tmp_path).create(), Recipe("toy_maps", 1, {}, {})
    keys = [(image_id, image_id * 64) for image_id in "abc"]
    with store.making(recipe, keys=keys) as out:
        for image_id in "abc":
            record_items(out, {image_id: []}, lambda one: {"passing": one == "b"})
    artifact = store.find(recipe.stage, recipe.key)
    assert artifact is not None and [part.key for part in artifact.parts()] == ["a" * 64, "", "c" * 64]


def test_damaged_earlier_part_is_not_taken_over(bench: Bench) -> None:
    """Of an older artifact with a damaged image the sound images are taken over, and that one is processed."""
    old = bench.maps()
    bench.processed()
    (old.path / "p002.bin").write_bytes(b"damaged")
    (old.path / "background" / "p005.bin").unlink()
    draw_images(bench.images, range(11))
    new = bench.maps()
    assert bench.processed() == ["p002", "p005", "p010"]
    assert contents(new) == contents(build_maps(bench.root.parent / "scratch", bench.images, Toy()))
