"""Images on the workers of a Dask cluster in this process: results, refusals, and a cluster that goes away."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from tag2mask.tasks.executors import dask_workers, fellows
from tag2mask.tasks.executors.dask_workers import DaskWorkers, LostCluster, device_of_workers
from tag2mask.tasks.executors.fellows import UnlikeWorker, fault_of_this_process, origin
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Answer, Order
from tag2mask.tasks.store.runtime import Cluster, StageRuntime
from tests.tasks.executors.toy_work import IDS, toy


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers that are threads of this process."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as made:
        yield made


@pytest.fixture
def runtime(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> StageRuntime:
    """The cluster as a stage's executor."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    fault_of_this_process.cache_clear()
    return StageRuntime(shard=4, executor="dask", cluster=Cluster(cluster.scheduler_address))


def test_all_images_are_made_and_the_log_says_by_whom(
    tmp_path: Path, runtime: StageRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """Every image's file is there, each worker's share is reported, and nothing of the hand-shake is left."""
    caplog.set_level("INFO", logger="tag2mask")
    process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out"), runtime)
    assert {path.stem for path in (tmp_path / "out").glob("*.txt")} == set(IDS)
    assert f"{tmp_path.name}: {len(IDS)} images by 2 workers: inproc://" in caplog.text
    assert not list((tmp_path / "out" / ".resume").glob("seen-*"))


def test_error_of_the_work_comes_back(tmp_path: Path, runtime: StageRuntime) -> None:
    """What the work raises on a worker ends the stage with that error."""
    with pytest.raises(ValueError, match="i20 is wrong"):
        process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out", wrong="i20"), runtime)


def test_worker_of_another_release_is_refused(
    tmp_path: Path, runtime: StageRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work, a worker with other code or libraries is refused with both versions named."""
    real = fellows.versions()
    with origin(tmp_path / "out", ()) as seen:
        other = replace(seen, host="driver", versions=tuple({**real, "torch": "0.1"}.items()))
        assert fault_of_this_process(other) == (
            f"is not of the release of driver: it has torch {real['torch']} (not 0.1); install the same on both"
        )
    monkeypatch.setattr(fellows, "versions", iter([{**real, "tag2mask": "0.0"}, real, real, real]).__next__)
    with pytest.raises(UnlikeWorker, match=r"the worker inproc://.* tag2mask .* \(not 0\.0\)"):
        process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out"), runtime)
    assert not list((tmp_path / "out").glob("*.txt"))


def test_worker_that_sees_another_store_is_refused(tmp_path: Path) -> None:
    """A worker must see the stage's folder, the very same, and all that is read, under their paths."""
    with origin(tmp_path / "out", (tmp_path / "model",)) as seen:
        assert f"sees no {tmp_path / 'model'}" in fault_of_this_process(seen)
        elsewhere = replace(seen, token=tmp_path / "none" / ".resume" / "seen-1")
        assert f"sees no {tmp_path / 'none'}, where" in fault_of_this_process(elsewhere)
        (tmp_path / "none").mkdir()
        fault_of_this_process.cache_clear()
        assert f"sees another folder at {tmp_path / 'none'}, where" in fault_of_this_process(elsewhere)


class LostOnce:
    """A future whose worker died with the result before anybody had fetched it; the scheduler has it done again."""

    status = "lost"

    def add_done_callback(self, tell: Callable[["LostOnce"], None]) -> None:
        """Be done again at once."""
        self.status = "finished"
        tell(self)

    def result(self) -> Answer:
        """What the second worker answered."""
        return Answer("worker 2")

    def release(self) -> None:
        """Let go."""


def test_result_that_is_lost_with_its_worker_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that was lost with its worker is no lost cluster: its shard is waited for again and its answer taken."""
    with origin(tmp_path / "out", ()) as seen:
        workers: Any = DaskWorkers(Cluster("tls://nobody:1"), Order(toy(tmp_path / "out"), "cpu", network=False), seen)
    monkeypatch.setattr(workers, "_count_workers", lambda: 1)
    future, shard = LostOnce(), IDS[:2]
    workers._running[future] = shard
    workers._ended.put(future)
    ended = workers.wait()
    assert ended.shard is shard and ended.answer.worker == "worker 2"


def test_nobody_at_the_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no scheduler answers the error says so and what to start."""
    monkeypatch.setattr(dask_workers, "CONNECT_SECONDS", 0.3)
    with pytest.raises(LostCluster, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*`dask scheduler`"):
        device_of_workers(Cluster("tcp://127.0.0.1:9"), "auto")


def test_gpu_that_no_worker_has_is_said(runtime: StageRuntime) -> None:
    """Networks run on CPUs unless a worker says that it has a GPU; to ask for one then is an error."""
    assert runtime.cluster is not None
    assert device_of_workers(runtime.cluster, "auto") == device_of_workers(runtime.cluster, "cpu") == "cpu"
    with pytest.raises(LostCluster, match="none of the 2 workers at .* --resources GPU=1"):
        device_of_workers(runtime.cluster, "cuda")


def test_scheduler_that_goes_away_ends_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the scheduler is gone in the middle, the stage ends with what to do, and finished images stay journaled."""
    from tag2mask.tasks.store.journal import finished_items

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr(dask_workers, "LOOK_SECONDS", 0.2)
    fault_of_this_process.cache_clear()
    own = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)

    def report(done: int, total: int, note: str) -> None:
        if done == 8:
            own.close()

    runtime = StageRuntime(shard=2, executor="dask", cluster=Cluster(own.scheduler_address), report=report)
    with pytest.raises(LostCluster, match="does not answer any more: start it and its workers again, then run again"):
        process_in_parallel(IDS, tmp_path / "out", toy(tmp_path / "out"), runtime)
    assert len(finished_items(tmp_path / "out")) >= 6
