"""Runs of the whole DAG that are killed at random moments: whole results or none, and the same bytes in the end."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from tag2mask.tasks.building.maintenance import verify
from tag2mask.tasks.store.store import Store
from tests.breakage.conftest import Tally
from tests.small_run import SmallRun, write_settings

LINES_OF_A_RUN = 30
"""About so many lines a run from nothing prints about its stages."""
CHEAP = ("mask_nonsalient", "evaluate", "render_report")
"""Stages that take a moment each."""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a run of `small.yaml`, in a process group of its own."""
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", "small.yaml", "--cores", "2"]
    return subprocess.Popen(
        [*command, "--precision", "float32"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def killed(folder: Path, lines: int, seconds: float, *, alone: bool) -> bool:
    """Run until some lines were said and some time has passed, and kill; whether it had not ended before.

    Args:
        folder: with the settings.
        lines: after which the time begins.
        seconds: to wait then.
        alone: kill the program, and leave the processes of its stages to themselves; else the whole group.
    """
    process = start(folder)
    assert process.stdout is not None
    said = list(islice(process.stdout, lines))
    if len(said) == lines:
        time.sleep(seconds)
    alive = process.poll() is None and len(said) == lines
    if alive:
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
    rest = process.communicate()[0] if not alone else ""  # a stage left to itself holds the pipe open
    process.wait()
    assert alive or process.returncode == 0, "".join(said) + rest
    return alive


def digests(store: Store) -> dict[str, str]:
    """Label -> digest of all artifacts but the report, which tells how many seconds everything took."""
    return {artifact.label: artifact.digest for artifact in store.artifacts() if artifact.stage != "render_report"}


def try_kills(folder: Path, expected: dict[str, str], kills: int, chance: random.Random, lines: int) -> None:
    """Kill runs in a folder until there were so many, from nothing again after each that came to its end."""
    store, done = Store(folder / "artifacts"), 0
    while done < kills:
        done += killed(folder, chance.randint(1, lines), chance.uniform(0, 1.5), alone=bool(done % 2))
        assert verify(store, reread=True) == []
        found = digests(store)
        assert found.items() <= expected.items()
        if len(found) == len(expected) and done < kills:
            shutil.rmtree(folder / "artifacts")
    last = start(folder)
    said = last.communicate()[0]
    assert last.returncode == 0, said
    assert digests(store) == expected and verify(store) == []
    assert not list((store.root / ".work").glob("*/*"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_goes_on_to_the_same_bytes(small_run: SmallRun, tmp_path: Path) -> None:
    """Killed after its first lines a run leaves nothing half, and another one comes to the end that it would have."""
    run = small_run.copied(tmp_path / "run")
    store = Store(run.root)
    expected = digests(store)
    for artifact in store.artifacts():
        if artifact.stage in CHEAP:
            shutil.rmtree(artifact.path)
    try_kills(run.folder, expected, 1, random.Random(1), 3)


@pytest.mark.breakage
@pytest.mark.timeout(4 * 3600)
def test_fifty_kills_over_the_whole_dag(small_run: SmallRun, tmp_path: Path, survived: Tally) -> None:
    """Killed fifty times at random, group or parent alone in turn, runs end with the bytes of an undisturbed one."""
    (tmp_path / "run").mkdir()
    shutil.copytree(small_run.data, tmp_path / "run" / "data")
    write_settings(tmp_path / "run")
    kills = int(os.environ.get("TAG2MASK_KILLS", "50"))
    try_kills(tmp_path / "run", digests(Store(small_run.root)), kills, random.Random(15), LINES_OF_A_RUN)
    survived("kills at random moments over the whole DAG, group and parent alone in turn", kills)
