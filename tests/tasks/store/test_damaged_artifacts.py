"""Damage to an artifact is noticed, named and mended by building anew."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.tasks.building.build import build, find_sound
from tag2mask.tasks.store.store import DamagedArtifact
from tests.tasks.store.build_bench import RUNTIME, Bench, flip
from tests.tasks.store.toy_stages import (
    Toy,
    build_maps,
    contents,
    draw_images,
    order_index,
)


@pytest.mark.parametrize("inflict", [flip, Path.unlink, lambda path: os.truncate(path, path.stat().st_size // 2)])
@pytest.mark.parametrize("stage", ["toy_index", "toy_maps"])
def test_damage_to_any_file_is_named_and_the_artifact_rebuilt(
    bench: Bench, stage: str, inflict: Callable[[Path], None]
) -> None:
    """Each file of each kind of artifact, the manifest included: damage is named, and the rebuild has the old bytes."""
    bench.maps()
    (artifact,) = bench.store.artifacts(stage)
    sound = contents(artifact)
    for name in [*sorted(sound)[::5], "manifest.json", "parts.jsonl"]:
        inflict(artifact.path / name)
        order = order_index(bench.store, bench.images) if stage == "toy_index" else bench.order()
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


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_result_damaged_since_it_was_found_is_not_built_from(bench: Bench, when: str) -> None:
    """What a stage reads is asked for again as it begins and ends; a result of damaged files is not kept."""
    order, index = bench.order(), bench.index()
    image = index.path / "images" / "p001.txt"

    def damage(*_: object) -> None:
        flip(image)

    if when == "before":
        damage()
    once = iter([damage])
    report = None if when == "before" else lambda *said: next(once, lambda *_: None)(*said)
    with pytest.raises(DamagedArtifact, match=f"{index.label}: images/p001.txt has other bytes"):
        build(order, replace(RUNTIME, report=report))
    assert not bench.store.artifacts("toy_maps") and not list((bench.root / ".work").glob("toy_maps/*/*.bin"))
    assert contents(bench.maps())


def test_a_damaged_result_that_is_read_is_left_in_its_place(bench: Bench) -> None:
    """While a stage works with it, it is not moved away: another run that needs it ends with the reason."""
    order = bench.order()
    maps = build(order, RUNTIME)
    (maps.path / "Thumbs.db").touch()
    with bench.store.lock(f"use-toy_maps-{maps.key}", shared=True):
        with pytest.raises(DamagedArtifact, match="Thumbs.db .*; a run at work reads it: when that has ended"):
            find_sound(bench.store, order.recipe)
        assert maps.path.is_dir()
    assert find_sound(bench.store, order.recipe)[0] is None and not maps.path.exists()


def test_damage_to_a_shared_file_is_noticed_in_all_artifacts_that_share_it(bench: Bench) -> None:
    """Damage to a file that two artifacts share by a hard link is noticed in both, and both are rebuilt without it."""
    older = bench.order()
    old = build(older, RUNTIME)
    sound = contents(old)
    draw_images(bench.images, range(12))
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
    draw_images(bench.images, range(12))
    order = bench.order()

    def stop(done: int, total: int, note: str) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(order, replace(RUNTIME, report=stop))
    flip(old.path / "p003.bin")
    new = build(order, RUNTIME)
    assert contents(new) == contents(build_maps(bench.root.parent / "scratch", bench.images, Toy()))
