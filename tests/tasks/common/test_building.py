"""Building: once, resumed, image by image, and from what the recipe says; shown by kills and by damage."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tag2mask.tasks import STAGE_VERSIONS, WHOLE_STAGES
from tag2mask.tasks.common import building
from tag2mask.tasks.common.artifact import Artifact, Recipe
from tag2mask.tasks.common.building import InputChanged, Order, build, find_sound, item_keys
from tag2mask.tasks.common.runtime import StageRuntime
from tag2mask.tasks.common.store import Store
from tests.tasks.common.toy_stages import (
    SHARD,
    Toy,
    build_maps,
    contents,
    draw_photographs,
    install,
    noted,
    order_index,
    order_maps,
    start_child,
)

RUNTIME = StageRuntime(shard=SHARD)


class Bench:
    """A store, photographs, and a log of the images processed."""

    def __init__(self, folder: Path, images: int = 10) -> None:
        self.root, self.photographs, self.log = folder / "artifacts", folder / "photographs", folder / "log"
        self.config = Toy(log=str(self.log))
        draw_photographs(self.photographs, range(images))

    @property
    def store(self) -> Store:
        return Store(self.root)

    def index(self) -> Artifact:
        return build(order_index(self.store, self.photographs), RUNTIME)

    def order(self, *, force: bool = False) -> Order:
        return order_maps(self.store, self.index(), self.config, force=force)

    def maps(self, *, force: bool = False) -> Artifact:
        return build(self.order(force=force), RUNTIME)

    def processed(self) -> list[str]:
        """Images processed since the last call, in order."""
        images = noted(self.log)
        self.log.unlink(missing_ok=True)
        return images


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no test cuts the power
    for name in ("toy_index", "toy_maps"):
        monkeypatch.setitem(sys.modules, f"tag2mask.tasks.{name}", None)
    install()
    return Bench(tmp_path)


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
    assert index.manifest["input_paths"] == {"photographs": str(bench.photographs)}
    assert maps.manifest["input_paths"] == {"index": index.label}
    assert maps.manifest["versions"].keys() == {"python", "tag2mask", "torch", "torchvision", "numpy", "pydensecrf2"}
    assert maps.manifest["item_keys"].keys() == maps.items.keys() == index.items.keys()
    assert maps.manifest["parts"]["p003"] == ["background/p003.bin", "p003.bin"]
    assert maps.manifest["metrics"] == {"images": 10}


# killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_kill_before_any_change_of_a_file_leaves_no_half_artifact_and_loses_less_than_a_shard(
    tmp_path: Path, force: bool
) -> None:
    """Killed just before a change of a file, at every seventh of them, a build leaves all or nothing, and resumes."""
    # a forced rebuild (here with other bytes) leaves the old result, the new one, or while they are exchanged none
    photographs = draw_photographs(tmp_path / "photographs", range(6))
    child = start_child("everywhere", tmp_path, photographs, Toy(step=7).model_dump_json(), force)
    reports = [json.loads(line) for line in child.communicate()[0].splitlines()]
    assert child.returncode == 0 and len(reports) > 20
    undisturbed = build_maps(tmp_path / "undisturbed", photographs, Toy(salt="other" if force else "")).digest
    for report in reports:
        assert report["found"] in ("", undisturbed, *([report["before"]] if force else []))
        assert report["after"] in (undisturbed, *([report["before"]] if force else []))
        assert report["sound"]
        repeated = len(report["noted"]) - len(set(report["noted"]))
        assert repeated < SHARD
        assert force or set(report["noted"]) == {f"p{number:03}" for number in range(6)}
        assert not report["found"] or report["after"] == report["found"]


def test_kills_at_random_moments_lose_less_than_a_shard_each(tmp_path: Path) -> None:
    """Killed again and again at random moments, a build ends with the bytes of an undisturbed one."""
    moments, kills = random.Random(7), 0
    photographs = draw_photographs(tmp_path / "photographs", range(24))
    log = tmp_path / "log"
    config = Toy(pause=0.04, log=str(log))
    while True:
        child = start_child("build", tmp_path / "artifacts", photographs, config.model_dump_json(), False)
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        child.stdin.write("go\n")
        child.stdin.flush()
        try:
            child.wait(moments.uniform(0.05, 0.3) if kills < 6 else None)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            kills += 1
            continue
        digest = child.communicate()[0].strip()
        break
    undisturbed = build_maps(tmp_path / "undisturbed", photographs, Toy())
    assert child.returncode == 0 and kills >= 3
    assert digest == undisturbed.digest
    (found,) = Store(tmp_path / "artifacts").artifacts("toy_maps")
    assert contents(found) == contents(undisturbed)
    processed = noted(log)
    assert set(processed) == set(found.items)
    assert len(processed) - len(set(processed)) < kills * SHARD


def test_two_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    """Three processes that ask for the same artifact at the same time all get it, and every image is processed once."""
    photographs = draw_photographs(tmp_path / "photographs", range(12))
    log = tmp_path / "log"
    config = Toy(pause=0.01, log=str(log)).model_dump_json()
    children = [start_child("build", tmp_path / "artifacts", photographs, config, False) for _ in range(3)]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate()[0] for child in children]
    assert len(set(answers)) == 1 and [child.returncode for child in children] == [0, 0, 0]
    assert sorted(noted(log)) == [f"p{number:03}" for number in range(12)]


def test_forced_rebuilds_of_two_processes_do_not_break_each_other(tmp_path: Path) -> None:
    """Processes that force the same artifact at once, with different bytes, both end, and what stands is sound."""
    photographs = draw_photographs(tmp_path / "photographs", range(4))
    configs = [Toy(salt=str(number)).model_dump_json() for number in range(3)]
    children = [start_child("build", tmp_path / "artifacts", photographs, config, True) for config in configs]
    digests = {child.communicate("go\n")[0].split()[1] for child in children}
    store = Store(tmp_path / "artifacts")
    (artifact,) = store.artifacts("toy_maps")
    assert store.find("toy_maps", artifact.key, reread=True) == artifact
    assert len(digests) == 3 and artifact.digest in digests


def test_waiting_for_another_run_is_told(bench: Bench) -> None:
    """Whoever has to wait for another run says so, and then finds what that one made."""
    order = bench.order()
    notes: list[str] = []
    runtime = replace(RUNTIME, report=lambda done, total, note: notes.append(note))
    waiting = threading.Thread(target=build, args=(order, runtime))
    with bench.store.lock(f"toy_maps-{order.recipe.key}"):
        waiting.start()
        while not notes:
            time.sleep(0.005)
        assert "waiting" in notes[0] and bench.processed() == []
    waiting.join(10)
    assert len(bench.processed()) == 10


# image by image ----------------------------------------------------------------------------------------------------


def test_ten_images_added_are_the_only_ones_processed(bench: Bench) -> None:
    """After ten images are added inference runs on those ten alone, and gives the same bytes as from scratch."""
    old = bench.maps()
    bench.processed()
    draw_photographs(bench.photographs, range(20))
    new = bench.maps()
    assert bench.processed() == [f"p{number:03}" for number in range(10, 20)]
    assert new.manifest["reused_images"] == 10
    assert contents(new) == contents(build_maps(bench.root.parent / "scratch", bench.photographs, Toy()))
    assert (new.path / "p000.bin").samefile(old.path / "p000.bin")
    assert bench.store.find("toy_maps", old.key, reread=True) is not None


def test_changed_and_removed_images_cost_what_changed(bench: Bench) -> None:
    """A changed image is processed alone, a removed one costs nothing; the old bytes find the old artifact."""
    old = bench.maps()
    bench.processed()
    text = (bench.photographs / "p004.txt").read_text()
    (bench.photographs / "p004.txt").write_text("another photograph")
    bench.maps()
    assert bench.processed() == ["p004"]
    (bench.photographs / "p004.txt").unlink()
    assert "p004" not in bench.maps().items and bench.processed() == []
    (bench.photographs / "p004.txt").write_text(text)
    assert bench.maps() == old and bench.processed() == []


def test_item_keys_narrow_per_image_inputs_only() -> None:
    """An image's key changes with its own part of an input and with the rest of the recipe, not with other images."""

    def artifact(digest: str, items: dict[str, str]) -> Artifact:
        return Artifact(Path("/nowhere"), {"digest": digest, "items": items})

    def keys(index: dict[str, str], model: str, factor: int, saliency: dict[str, str]) -> dict[str, str]:
        inputs = {
            "index": artifact(str(index), index),
            "model": artifact(model, {}),
            "saliency": artifact(str(saliency), saliency),
        }
        recipe = Recipe("toy", 1, {"factor": factor}, {name: given.digest for name, given in inputs.items()})
        return item_keys(recipe, inputs)

    maps = {"a": "s", "b": "s", "c": "s"}
    base = keys({"a": "1", "b": "2"}, "m", 1, maps)
    assert base.keys() == {"a", "b"} and base["a"] != base["b"]
    assert keys({"a": "1", "b": "9"}, "m", 1, maps) == {"a": base["a"], "b": keys({"b": "9"}, "m", 1, maps)["b"]}
    assert keys({"a": "1", "b": "9"}, "m", 1, maps)["b"] != base["b"]
    assert keys({"a": "1", "b": "2"}, "m", 1, {**maps, "b": "t"})["a"] == base["a"]
    for others in (keys({"a": "1", "b": "2"}, "n", 1, maps), keys({"a": "1", "b": "2"}, "m", 2, maps)):
        assert not set(others.values()) & set(base.values())
    assert item_keys(Recipe("toy", 1, {}, {"model": "m"}), {"model": artifact("m", {})}) == {}


@pytest.mark.parametrize("stage", sorted(WHOLE_STAGES))
def test_where_images_depend_on_each_other_nothing_is_taken_over(stage: str) -> None:
    """A map of a group has no key of its own image: another image in the group changes it."""
    index = Artifact(Path("/nowhere"), {"digest": "d", "items": {"a": "1", "b": "2"}})
    assert item_keys(Recipe("infer_cams", 1, {}, {"dataset": "d"}), {"dataset": index}).keys() == {"a", "b"}
    assert item_keys(Recipe(stage, 1, {}, {"dataset": "d"}), {"dataset": index}) == {}
    assert stage in STAGE_VERSIONS


def test_damaged_earlier_part_is_not_taken_over(bench: Bench) -> None:
    """Of an older artifact with a damaged image the sound images are taken over, and that one is processed."""
    old = bench.maps()
    bench.processed()
    (old.path / "p002.bin").write_bytes(b"damaged")
    (old.path / "background" / "p005.bin").unlink()
    draw_photographs(bench.photographs, range(11))
    new = bench.maps()
    assert bench.processed() == ["p002", "p005", "p010"]
    assert contents(new) == contents(build_maps(bench.root.parent / "scratch", bench.photographs, Toy()))


# damaged -----------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("inflict", [flip, Path.unlink, lambda path: os.truncate(path, path.stat().st_size // 2)])
@pytest.mark.parametrize("stage", ["toy_index", "toy_maps"])
def test_damage_to_any_file_is_named_and_the_artifact_rebuilt(
    bench: Bench, stage: str, inflict: Callable[[Path], None]
) -> None:
    """Each file of each kind of artifact, the manifest included: damage is named, and the rebuild has the old bytes."""
    bench.maps()
    (artifact,) = bench.store.artifacts(stage)
    sound = contents(artifact)
    for name in [*sorted(sound)[::5], "manifest.json"]:
        inflict(artifact.path / name)
        order = order_index(bench.store, bench.photographs) if stage == "toy_index" else bench.order()
        found, damage = find_sound(bench.store, order.recipe)
        assert found is None and damage.startswith(f"{artifact.label}: {name}")
        assert contents(build(order, RUNTIME)) == sound
    assert find_sound(bench.store, order.recipe)[1] == ""


def test_damage_found_only_by_the_builder_is_kept_in_the_manifest(bench: Bench) -> None:
    """A result damaged between the look-up and the build is set aside, rebuilt, and its manifest tells why."""
    order = bench.order()
    flip(build(order, RUNTIME).path / "p001.bin")
    rebuilt = build(order, RUNTIME)
    assert "p001.bin has other bytes" in rebuilt.manifest["replaces"]
    assert bench.store.find("toy_maps", rebuilt.key, reread=True) == rebuilt


def test_damage_to_a_shared_file_is_noticed_in_all_artifacts_that_share_it(bench: Bench) -> None:
    """Damage to a file that two artifacts share by a hard link is noticed in both, and both are rebuilt without it."""
    older = bench.order()
    old = build(older, RUNTIME)
    sound = contents(old)
    draw_photographs(bench.photographs, range(12))
    newer = bench.order()
    new = build(newer, RUNTIME)
    flip(new.path / "p003.bin")
    for order in (older, newer):
        assert "p003.bin has other bytes" in find_sound(bench.store, order.recipe)[1]
    bench.processed()
    assert contents(build(older, RUNTIME)) == sound
    assert {name: contents(build(newer, RUNTIME))[name] for name in sound if name != "metrics.json"} == {
        name: sound[name] for name in sound if name != "metrics.json"
    }
    assert sorted(bench.processed()) == sorted([*(f"p{number:03}" for number in range(10)), "p010", "p011"])


def test_file_damaged_while_an_attempt_lies_interrupted_is_made_again(bench: Bench) -> None:
    """An interrupted attempt's file, shared with an older artifact and damaged there, stays out of the result."""
    old = bench.maps()
    draw_photographs(bench.photographs, range(12))
    order = bench.order()

    def stop(done: int, total: int, note: str) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(order, replace(RUNTIME, report=stop))
    flip(old.path / "p003.bin")
    new = build(order, RUNTIME)
    assert contents(new) == contents(build_maps(bench.root.parent / "scratch", bench.photographs, Toy()))


# inputs ------------------------------------------------------------------------------------------------------------


def test_forced_rebuild_processes_everything_and_keeps_the_consumers_hits(bench: Bench) -> None:
    """Forced, a stage takes nothing over; with the same bytes its digest stays, and what reads it is still found."""
    first = bench.maps()
    bench.processed()
    again = build(order_index(bench.store, bench.photographs, force=True), RUNTIME)
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


def test_changed_input_is_refused_before_and_after_the_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs that change between look-up and end end the stage, and nothing is kept under a wrong name."""
    order = order_index(bench.store, bench.photographs)
    (bench.photographs / "p001.txt").write_text("changed before")
    with pytest.raises(InputChanged, match="photographs of toy_index"):
        build(order, RUNTIME)
    order = order_index(bench.store, bench.photographs)
    stage = sys.modules["tag2mask.tasks.toy_index"]
    run = stage.run

    def change_after(*arguments: object, **inputs: Path) -> None:
        run(*arguments, **inputs)
        (bench.photographs / "p002.txt").write_text("changed during")

    monkeypatch.setattr(stage, "run", change_after)
    with pytest.raises(InputChanged, match="photographs of toy_index"):
        build(order, RUNTIME)
    assert not bench.store.artifacts() and not list((bench.root / ".work").glob("*/*"))


def test_input_rebuilt_with_other_bytes_by_another_run_is_refused(bench: Bench) -> None:
    """An artifact that another run replaced by other bytes since the recipe was written is not built from."""
    maps = bench.maps()
    consumer = Recipe("toy_maps", 2, {}, {"index": maps.digest})
    build_maps(bench.root, bench.photographs, Toy(salt="other"), force=True)
    order = Order(bench.root, consumer, Toy(), {"index": maps.path}, {})
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
    consumer = Order(bench.root, Recipe("toy_maps", 9, {}, {"index": maps.digest}), Toy(), {"index": maps.path}, {})
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
