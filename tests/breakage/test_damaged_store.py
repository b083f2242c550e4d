"""Damages of every kind of file in the store of a finished run: each is noticed and named, and mended by a run."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tag2mask.tasks.building.maintenance import verify
from tag2mask.tasks.store.manifest import DamagedArtifact
from tag2mask.tasks.store.store import Artifact, Store
from tests.breakage.conftest import Tally
from tests.breakage.test_killed_runs import digests
from tests.small_run import SmallRun


def flip(path: Path, chance: random.Random) -> None:
    """Turn over one bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    """Lose the end."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def swell(path: Path, chance: random.Random) -> None:
    """Gain bytes at the end."""
    with path.open("ab") as file:
        file.write(chance.randbytes(7))


def lose(path: Path, chance: random.Random) -> None:
    """Be deleted."""
    path.unlink()


def add(path: Path, chance: random.Random) -> None:
    """Get a neighbor."""
    path.with_name(f"added-{chance.randrange(10**6)}{path.suffix}").write_bytes(chance.randbytes(50))


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (flip, cut, swell, lose, add)


def kinds_of_files(store: Store, chance: random.Random) -> Iterator[tuple[Artifact, str]]:
    """One file of every kind that each stage writes, its table and manifest among them; which one is drawn."""
    for artifact in {artifact.stage: artifact for artifact in store.artifacts()}.values():
        kinds: dict[tuple[str, str], list[str]] = {}
        for path in sorted(path for path in artifact.path.rglob("*") if path.is_file() and path.stat().st_size):
            name = path.relative_to(artifact.path)
            kinds.setdefault((str(name.parent), name.suffix), []).append(name.as_posix())
        yield from ((artifact, chance.choice(names)) for names in kinds.values())


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.breakage) for seed in range(2, 5))])
def test_every_damage_of_every_kind_of_file_is_noticed(
    small_run: SmallRun, tmp_path: Path, seed: int, survived: Tally
) -> None:
    """Whatever happens to a file of a result, looking it up names the result, and with it undone all is sound again."""
    chance = random.Random(seed)
    store = Store(small_run.copied(tmp_path / "run").root)
    tried = 0
    for artifact, name in kinds_of_files(store, chance):
        for damage in chance.sample(DAMAGES, 3 if seed == 1 else 5):
            path = artifact.path / name
            before = {other: other.read_bytes() for other in path.parent.iterdir() if other.is_file()}
            damage(path, chance)
            with pytest.raises(DamagedArtifact, match=artifact.label):
                store.find(artifact.stage, artifact.key, reread=bool(tried % 2))
            for other in path.parent.iterdir():
                if other.is_file() and other not in before:
                    other.unlink()
            path.write_bytes(before[path])
            assert store.find(artifact.stage, artifact.key) is not None
            tried += 1
    assert tried > 100 and verify(store) == []
    survived("damaged files of a finished run's store, each noticed and named", tried)


@pytest.mark.breakage
@pytest.mark.timeout(3600)
def test_a_run_mends_whatever_was_damaged(small_run: SmallRun, tmp_path: Path, survived: Tally) -> None:
    """After damage to one file of every stage, a run names and rebuilds what was damaged, to the same digests."""
    chance = random.Random(7)
    run = small_run.copied(tmp_path / "run")
    store = Store(run.root)
    sound = digests(store)
    files = {artifact.label: (artifact, name) for artifact, name in kinds_of_files(store, chance)}
    for artifact, name in files.values():
        chance.choice(DAMAGES)(artifact.path / name, chance)
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", "small.yaml", "--cores", "2"]
    ran = subprocess.run([*command, "--precision", "float32"], cwd=run.folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert digests(store) == sound and verify(store) == []
    survived("results damaged, each rebuilt by the next run to the same bytes", len(files))
