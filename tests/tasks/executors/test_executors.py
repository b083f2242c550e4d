"""Images on threads and processes: every result once, lost workers made up for, lethal images named."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.tasks.dataset.images import BadImage, ImageFiles
from tag2mask.tasks.dataset.ingest import IngestedImage, ingest_all
from tag2mask.tasks.executors.images import map_in_parallel, process_in_parallel
from tag2mask.tasks.executors.window import AHEAD, Ended, KillsWorkers, Window
from tag2mask.tasks.executors.work import Answer, Process, Shard, one_by_one
from tag2mask.tasks.store.journal import finished_items
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.executors.toy_work import IDS, toy

RUNTIMES = {
    "one": StageRuntime(shard=5),
    "threads": StageRuntime(shard=5, workers=3),
    "processes": StageRuntime(shard=5, workers=2, executor="processes"),
}


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for on the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def contents(out: Path) -> dict[str, str]:
    """What the toy work wrote."""
    return {path.stem: path.read_text() for path in out.glob("*.txt")}


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_executor_makes_and_journals_every_image_once(tmp_path: Path, name: str) -> None:
    """All files are there and journaled, the work is opened once a worker, and a second run has nothing to do."""
    opened = tmp_path / "opened"
    process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out", opened=opened), RUNTIMES[name])
    assert contents(tmp_path / "out") == {image_id: f"{image_id} on cpu" for image_id in IDS}
    assert sorted(finished_items(tmp_path / "out")) == list(IDS)
    lines = opened.read_text().split()
    assert len(lines) == len(set(lines)) <= (2 if name == "processes" else 1)
    process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out", lethal="i03"), RUNTIMES[name])


@pytest.mark.parametrize("name", RUNTIMES)
def test_results_come_in_the_order_asked_for(tmp_path: Path, name: str) -> None:
    """Whoever is done first, results are handed on in order, and progress rises one by one."""
    reported: list[int] = []
    kind = RUNTIMES[name]
    runtime = StageRuntime(
        shard=2, workers=kind.workers, executor=kind.executor, report=lambda done, total, _: reported.append(done)
    )
    found = [image_id for image_id, _ in map_in_parallel(IDS, tmp_path, toy(tmp_path), runtime)]
    assert found == list(IDS) and reported == list(range(1, len(IDS) + 1))


class Nobody:
    """Workers of whom none is there."""

    width = 0

    def __enter__(self) -> "Nobody":
        return self

    def __exit__(self, *_: object) -> None: ...

    def room(self) -> int:
        """None."""
        return 0

    def start(self, shard: Shard) -> None:
        """Never."""
        raise AssertionError

    def wait(self) -> Ended:
        """Never."""
        raise AssertionError


def test_images_that_nobody_takes_are_an_error() -> None:
    """Where no worker takes a shard, the work does not end as if it were done; without shards it does."""
    with pytest.raises(RuntimeError, match="no worker takes the images that are left"):
        list(Window(Nobody()).results([("a", "b")]))
    assert list(Window(Nobody()).results([])) == []


def test_images_of_a_lost_worker_are_done_elsewhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that is killed in the middle costs a line in the log, and no image."""
    work = toy(tmp_path / "out", once=tmp_path / "i07")
    process_in_parallel(IDS, tmp_path / "out", work, RUNTIMES["processes"])
    assert contents(tmp_path / "out").keys() == set(IDS)
    assert "(killed by SIGKILL) was lost" in caplog.text and "are done elsewhere" in caplog.text


def test_image_that_kills_workers_is_named(tmp_path: Path) -> None:
    """An image that ends each worker is the one in the message, however many lie in its shard; the others are kept."""
    with pytest.raises(KillsWorkers, match=r"image i07: 3 workers ended .* SIGKILL"):
        process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out", lethal="i07"), RUNTIMES["processes"])
    assert {"i00", "i06"} <= set(finished_items(tmp_path / "out"))


@pytest.mark.parametrize("name", RUNTIMES)
def test_error_of_the_work_is_raised_as_it_is(tmp_path: Path, name: str) -> None:
    """An error on a worker reaches the stage with its type, and what was done before it is journaled."""
    with pytest.raises(ValueError, match="i20 is wrong") as raised:
        process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out", wrong="i20"), RUNTIMES[name])
    assert set(IDS[:19]) <= set(finished_items(tmp_path / "out"))
    if name == "processes":
        assert "on the worker process" in "".join(raised.value.__notes__)


def lethal_at(image_id: str, source: Path, out: Path, *, lethal: str) -> tuple[IngestedImage, list[Path]]:
    """Take an image in that may end its process."""
    ((_, paths),) = toy(out, lethal=lethal)("cpu")([image_id])
    return IngestedImage(image_id, source.name, file=paths[0].name), paths


@pytest.mark.parametrize("skip", [True, False])
def test_lethal_image_is_set_aside_or_refused(tmp_path: Path, skip: bool) -> None:
    """An image that ends whoever reads it is a bad image: set aside with its reason, or the end of the run."""
    sources = ImageFiles(tmp_path / "raw", {image_id: f"{image_id}.jpg" for image_id in IDS[:6]})
    take = partial(lethal_at, lethal="i02")
    runtime = StageRuntime(workers=2, executor="processes")
    if not skip:
        with pytest.raises(BadImage, match=r"1 of 6 images are bad.*\n.*i02.jpg: ends every process"):
            ingest_all(sources, take, tmp_path / "out", runtime, skip=False)
        return
    records = ingest_all(sources, take, tmp_path / "out", runtime, skip=True)
    assert [record.image_id for record in records.aside] == ["i02"]
    assert records.count == 6 and [record.passing for record in records] == [one == "i02" for one in IDS[:6]]


def open_threads(device: str) -> Process:
    """Work that tells how many threads torch has."""
    return one_by_one(lambda image_id: torch.get_num_threads())


@pytest.mark.parametrize("name", RUNTIMES)
def test_networks_compute_in_one_thread(tmp_path: Path, name: str) -> None:
    """Every worker gives torch one thread, which decides the last digits, and the stage keeps its own number."""
    from tag2mask.tasks.executors.images import shard_results

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = shard_results(IDS, out=tmp_path, open_work=open_threads, runtime=RUNTIMES[name], network=True)
        assert dict(found) == dict.fromkeys(IDS, 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class Stuck:
    """Workers of which one never finishes the first shard until nothing else is left."""

    width = 2

    def __init__(self) -> None:
        self.at_work: list[Shard] = []
        self.most = 0

    def __enter__(self) -> "Stuck":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def room(self) -> int:
        """Always."""
        return 2 - len(self.at_work)

    def start(self, shard: Shard) -> None:
        """Note it."""
        self.at_work.append(shard)

    def wait(self) -> Ended:
        """The newest."""
        shard = self.at_work.pop()
        self.most = max(self.most, int(shard[0]))
        return Ended(shard, Answer("w", tuple((image_id, None) for image_id in shard)))


def test_window_does_not_run_away_from_its_oldest_shard() -> None:
    """While a shard is late, only so many are begun behind it: what waits for its turn stays small."""
    workers, count = Stuck(), 200
    shards: Iterator[Shard] = ((str(number),) for number in range(count))
    first = [int(image_id) for image_id, _ in Window(workers).results(shards)]
    late = first.index(0)
    assert sorted(first) == list(range(count)) and max(first[:late]) <= AHEAD * workers.width


FAULTS = """
import resource, numpy
from tag2mask.tasks.executors.processes import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        numpy.ones(2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GNU's malloc")
def test_a_worker_of_dasks_keeps_the_memory_that_an_array_leaves() -> None:
    """With the environment that Dask gives its workers, the pages of an array are cleared once and not each time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    for own, kept in (({}, True), ({"MALLOC_MMAP_MAX_": "65536"}, False)):
        given = environment | {"MALLOC_TRIM_THRESHOLD_": "65536"} | own
        ran = subprocess.run([sys.executable, "-c", FAULTS], env=given, capture_output=True, text=True, check=True)
        before, after = map(int, ran.stdout.split())
        assert before > 5_000 and (after < before / 20) == kept
