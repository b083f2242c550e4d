"""A disk that is full in the middle of a run, and a clock that was once in the future."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tag2mask.flows.dag.record import kept_labels, records
from tag2mask.tasks.building.maintenance import verify
from tag2mask.tasks.store.store import Store
from tests.breakage.conftest import Tally
from tests.breakage.test_killed_runs import CHEAP, digests
from tests.small_run import SmallRun

LIBRARIES = [Path("/usr/lib"), Path("/usr/local/lib")]
FULL_DISK = """
import shutil, subprocess, sys
from pathlib import Path

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.engine.session import Session, execute
from tag2mask.tasks.store import store as store_module
from tests.flows.toys import Ledger

folder, mount, room = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
store_module.MINIMUM_FREE_BYTES = 0
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(mount)], check=True)
shutil.copytree(folder / "artifacts", mount / "artifacts")
ballast = mount / "ballast"
ballast.write_bytes(bytes(shutil.disk_usage(mount).free - room))
nodes = build_dag(load_config(folder / "small.yaml"))

def run():
    session = Session(nodes, store_module.Store(mount / "artifacts"), Runtime(root=mount / "artifacts", cores=2),
                      Ledger(), in_process=True)
    return execute(session)

causes = [failure.message for failure in run().failures.values() if failure.cause]
print("FULL", len(causes), all("no room on the disk" in cause for cause in causes), causes[:1])
ballast.unlink()
result = run()
made = [outcome.artifact for outcome in result.outcomes.values() if outcome.artifact.stage != "render_report"]
print("DIGESTS", sorted(artifact.digest for artifact in made), list(result.failures))
"""
"""Runs what is missing on a disk with so many bytes of room, makes room, and runs again."""


def without_some(run: SmallRun) -> list[str]:
    """Delete the results of a few stages after the trainings; the digests of all there were but the report."""
    store = Store(run.root)
    whole = sorted(digests(store).values())
    # no network among them: run in this process, their last digits would be others
    cheap = [artifact for artifact in store.artifacts() if artifact.stage in (*CHEAP, "mine_objects")]
    for artifact in cheap:
        store.set_aside(artifact.stage, artifact.key)
    subprocess.run(["rm", "-rf", str(store.root / ".trash")], check=True)
    return whole


@pytest.mark.breakage
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_is_full_in_the_middle_loses_nothing(
    small_run: SmallRun, tmp_path: Path, seed: int, survived: Tally
) -> None:
    """On a tmpfs with little room stages fail for want of it by name, and with room again all have the same bytes."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no right to mount a file system of one's own")
    chance = random.Random(seed)
    run = small_run.copied(tmp_path / "run")
    whole = without_some(run)
    (tmp_path / "mount").mkdir()
    room = str(chance.randrange(4_000, 60_000))
    command = ["unshare", "-rm", sys.executable, "-c", FULL_DISK, str(run.folder), str(tmp_path / "mount"), room]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:]
    full, made = ran.stdout.splitlines()[-2:]
    assert full.split()[0] == "FULL" and int(full.split()[1]) > 0 and full.split()[2] == "True", full
    assert made == f"DIGESTS {whole} []"
    survived("disks that were full in the middle of a run", 1)


def fake_clock() -> Path:
    """The library that makes the time up; skips where it is not installed."""
    found = next((path for place in LIBRARIES for path in place.rglob("libfaketimeMT.so.1")), None)
    return found or pytest.skip("libfaketime is not installed")


@pytest.mark.breakage
@pytest.mark.timeout(3600)
def test_a_clock_that_was_in_the_future_loses_no_run(small_run: SmallRun, tmp_path: Path, survived: Tally) -> None:
    """Of runs with other settings, one of them ten years ahead, the last ones are kept, and the jump is told."""
    library, run = fake_clock(), small_run.copied(tmp_path / "run")
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", "small.yaml", "--cores", "2"]
    command += ["--precision", "float32", "--until", "evaluate-labels_0", "--set"]
    joins = []
    for number, ahead in enumerate((True, False, False, False)):
        clock = {"LD_PRELOAD": str(library), "FAKETIME": "+3650d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if ahead else {}
        change = f"mining.foreground=0.{number + 4}"
        ran = subprocess.run(
            [*command, change], cwd=run.folder, capture_output=True, text=True, env={**os.environ, **clock}, timeout=900
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ("it has jumped" in ran.stdout) == (number > 0), ran.stdout
        joins.append(records(run.root, "small")[-1].labels["mine_objects"])
    assert [record.labels["mine_objects"] for record in records(run.root, "small")] == joins
    assert set(joins[-3:]) <= kept_labels(run.root) and joins[0] not in kept_labels(run.root)
    assert verify(Store(run.root)) == []
    survived("runs after one in the future, each kept", 3)
