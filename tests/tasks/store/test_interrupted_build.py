"""Building that is killed, or asked for by several processes at once."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.tasks.building.build import build
from tag2mask.tasks.store.runtime import WAITS
from tag2mask.tasks.store.store import Store
from tests.tasks.store.build_bench import RUNTIME, Bench
from tests.tasks.store.toy_stages import (
    SHARD,
    Toy,
    build_maps,
    contents,
    draw_images,
    noted,
    start_child,
)


@pytest.mark.parametrize("force", [False, True])
def test_kill_before_any_change_of_a_file_leaves_no_half_artifact_and_loses_less_than_a_shard(
    tmp_path: Path, force: bool
) -> None:
    """Killed just before a change of a file, at every seventh of them, a build leaves all or nothing, and resumes."""
    # a forced rebuild (here with other bytes) leaves the old result, the new one, or while they are exchanged none
    images = draw_images(tmp_path / "images", range(6))
    child = start_child("everywhere", tmp_path, images, Toy(step=7).model_dump_json(), force)
    reports = [json.loads(line) for line in child.communicate()[0].splitlines()]
    assert child.returncode == 0 and len(reports) > 20
    undisturbed = build_maps(tmp_path / "undisturbed", images, Toy(salt="other" if force else "")).digest
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
    images = draw_images(tmp_path / "images", range(24))
    log = tmp_path / "log"
    config = Toy(pause=0.04, log=str(log))
    while True:
        child = start_child("build", tmp_path / "artifacts", images, config.model_dump_json(), False)
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
    undisturbed = build_maps(tmp_path / "undisturbed", images, Toy())
    assert child.returncode == 0 and kills >= 3
    assert digest == undisturbed.digest
    (found,) = Store(tmp_path / "artifacts").artifacts("toy_maps")
    assert contents(found) == contents(undisturbed)
    processed = noted(log)
    assert set(processed) == set(dict(found.items()))
    assert len(processed) - len(set(processed)) < kills * SHARD


def test_two_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    """Three processes that ask for the same artifact at the same time all get it, and every image is processed once."""
    images = draw_images(tmp_path / "images", range(12))
    log = tmp_path / "log"
    config = Toy(pause=0.01, log=str(log)).model_dump_json()
    children = [start_child("build", tmp_path / "artifacts", images, config, False) for _ in range(3)]
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
    images = draw_images(tmp_path / "images", range(4))
    configs = [Toy(salt=str(number)).model_dump_json() for number in range(3)]
    children = [start_child("build", tmp_path / "artifacts", images, config, True) for config in configs]
    digests = {child.communicate("go\n")[0].split()[1] for child in children}
    store = Store(tmp_path / "artifacts")
    (artifact,) = store.artifacts("toy_maps")
    assert store.find("toy_maps", artifact.key, reread=True) == artifact
    assert len(digests) == 3 and artifact.digest in digests


def test_waiting_for_another_run_is_reported(bench: Bench) -> None:
    """Whoever has to wait for another run says so, and then finds what that one made."""
    order = bench.order()
    notes: list[str] = []
    runtime = replace(RUNTIME, report=lambda done, total, note: notes.append(note))
    waiting = threading.Thread(target=build, args=(order, runtime))
    with bench.store.lock(f"toy_maps-{order.recipe.key}"):
        waiting.start()
        while not notes:
            time.sleep(0.005)
        assert notes == [WAITS] and bench.processed() == []
    waiting.join(10)
    assert len(bench.processed()) == 10
