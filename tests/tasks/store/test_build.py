"""Building: once, and from what the recipe says."""

import sys
import threading
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tag2mask.tasks.building import build as building
from tag2mask.tasks.building.build import InputChanged, Order, build
from tag2mask.tasks.store.artifact import Recipe
from tests.tasks.store.build_bench import RUNTIME, Bench
from tests.tasks.store.toy_stages import (
    Toy,
    build_maps,
    contents,
    order_index,
    order_maps,
)


def test_second_time_nothing_is_done(bench: Bench) -> None:
    """What is there is found, whoever asks, and no image is processed again; another setting is another artifact."""
    first = bench.maps()
    assert len(bench.processed()) == 10
    assert bench.maps() == first and bench.processed() == []
    bench.config = bench.config.replaced(factor=2)
    assert bench.maps().key != first.key and len(bench.processed()) == 10


def test_manifest_says_what_made_it(bench: Bench) -> None:
    """The manifest tells the inputs' places (in the store: `stage/key`), versions, item keys and each image's files."""
    index, maps = bench.index(), bench.maps()
    assert index.manifest["input_paths"] == {"images": str(bench.images)}
    assert maps.manifest["input_paths"] == {"index": index.label}
    assert maps.manifest["versions"].keys() == {"python", "tag2mask", "torch", "torchvision", "numpy", "scipy"}
    parts = {part.image_id: part for part in maps.parts()}
    assert [*parts] == [*dict(index.items()), ""] and maps.images == index.images == 10
    assert all(len(part.key) == len(part.item) == 64 for image_id, part in parts.items() if image_id)
    assert [*parts["p003"].files] == ["background/p003.bin", "p003.bin"] and [*parts[""].files] == ["metrics.json"]
    assert maps.manifest["metrics"] == {"images": 10}


def test_forced_rebuild_processes_everything_and_keeps_the_consumers_hits(bench: Bench) -> None:
    """Forced, a stage takes nothing over; with the same bytes its digest stays, and what reads it is still found."""
    first = bench.maps()
    bench.processed()
    again = build(order_index(bench.store, bench.images, force=True), RUNTIME)
    assert again.digest == bench.index().digest
    assert bench.maps() == first and bench.processed() == []
    forced = bench.maps(force=True)
    assert forced.digest == first.digest and len(bench.processed()) == 10


def test_forced_rebuild_takes_nothing_from_an_interrupted_attempt(bench: Bench) -> None:
    """Forced, a stage starts from nothing, although an interrupted attempt left finished images."""

    def stop(done: int, total: int, note: str) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(bench.order(), replace(RUNTIME, report=stop))
    bench.processed()
    bench.maps(force=True)
    assert len(bench.processed()) == 10


def test_the_next_attempt_of_a_forced_rebuild_goes_on(bench: Bench) -> None:
    """A forced stage that failed within a run has its finished images when it is tried again."""

    def stop(done: int, total: int, note: str) -> None:
        if done == 9:
            raise OSError("a hiccup")

    order = bench.order(force=True)
    with pytest.raises(OSError, match="a hiccup"):
        build(order, replace(RUNTIME, report=stop))
    bench.processed()
    build(replace(order, resume=True), RUNTIME)
    assert 0 < len(bench.processed()) < 10


def test_changed_input_is_refused_before_and_after_the_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that change between look-up and end end the stage, and nothing is kept under a wrong name."""
    order = order_index(bench.store, bench.images)
    (bench.images / "p001.txt").write_text("changed before")
    with pytest.raises(InputChanged, match="images of toy_index"):
        build(order, RUNTIME)
    order = order_index(bench.store, bench.images)
    stage = sys.modules["tag2mask.tasks.toy_index"]
    run = stage.run

    def change_after(*arguments: object, **inputs: Path) -> None:
        run(*arguments, **inputs)
        (bench.images / "p002.txt").write_text("changed during")

    monkeypatch.setattr(stage, "run", change_after)
    with pytest.raises(InputChanged, match="images of toy_index"):
        build(order, RUNTIME)
    assert not bench.store.artifacts() and not list((bench.root / ".work").glob("*/*"))


def test_input_rebuilt_with_other_bytes_by_another_run_is_refused(bench: Bench) -> None:
    """An artifact that another run replaced by other bytes since the recipe was written is not built from."""
    maps = bench.maps()
    consumer = Recipe("toy_maps", 2, {}, {"index": maps.digest})
    build_maps(bench.root, bench.images, Toy(salt="other"), force=True)
    order = Order(bench.root, consumer, Toy(), {"index": maps.path})
    with pytest.raises(InputChanged, match=f"{maps.path} .index of toy_maps. changed"):
        build(order, RUNTIME)


def test_input_in_use_is_not_replaced(bench: Bench) -> None:
    """While a stage reads an artifact, a forced rebuild of it with other bytes waits for the stage to end."""
    maps = bench.maps()
    states: list[tuple[bool, bool]] = []
    forced = order_maps(bench.store, bench.index(), bench.config.replaced(salt="other"), force=True)
    rebuild = threading.Thread(target=build, args=(forced, RUNTIME))

    def watch(done: int, total: int, note: str) -> None:
        if not states:
            rebuild.start()
            rebuild.join(0.3)
        states.append((rebuild.is_alive(), (maps.path / "p000.bin").read_bytes() == contents(maps)["p000.bin"]))

    (maps.path / "images").mkdir()  # so that the toy stage can read the maps as if they were an index
    consumer = Order(bench.root, Recipe("toy_maps", 9, {}, {"index": maps.digest}), Toy(), {"index": maps.path})
    build(consumer, replace(RUNTIME, report=watch))
    rebuild.join(10)
    assert states[0] == (True, True) and not rebuild.is_alive()
    replaced = bench.store.find("toy_maps", maps.key, reread=True)
    assert replaced is not None and replaced.digest != maps.digest


def test_uninstalled_packages_do_not_stop_a_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a checkout that is not installed, the manifest says so instead of failing."""

    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(building, "version", unknown)
    assert bench.index().manifest["versions"]["tag2mask"] == "not installed"
