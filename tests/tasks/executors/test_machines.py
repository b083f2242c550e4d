"""Trainings that several machines share: here processes on the loopback, with a store that both see."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.configs.runtime import BadResource, runtime_of
from tag2mask.configs.schema import Classifier
from tag2mask.tasks import train_classifier
from tag2mask.tasks.executors import machines
from tag2mask.tasks.executors.fellows import UnlikeWorker
from tag2mask.tasks.executors.machines import BadMachines, announced, take_part
from tag2mask.tasks.executors.ranks import run_on_ranks
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.small_stages import TAGGER, write_inputs
from tests.tasks.training.test_ranks import check_same

TWO = "2@127.0.0.1"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As every process has."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def joined(root: Path, number: int = 1) -> Iterator["subprocess.Popen[str]"]:
    """Another machine that takes part in the trainings of a store."""
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "join", "--root", str(root), "--number", str(number)]
    with subprocess.Popen([*command, "--cores", "1"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.serving
def test_two_machines_train_as_one(tmp_path: Path) -> None:
    """Losses, weights and attention are those of one process, the first machine writes, and nothing stays behind."""
    inputs = write_inputs(tmp_path)
    config = Classifier.model_validate({**TAGGER, "learning_rate": 1e-4})
    still, one, two = (tmp_path / "store" / ".work" / "train_classifier" / name for name in ("still", "one", "two"))
    for folder in (still, one, two):
        folder.mkdir(parents=True)
    train_classifier.run(config.replaced(learning_rate=1e-30), still, StageRuntime(), dataset=inputs["dataset"])
    train_classifier.run(config, one, StageRuntime(), dataset=inputs["dataset"])
    with joined(tmp_path / "store") as other:
        runtime = StageRuntime(machines=TWO)
        run_on_ranks("train_classifier", config, two, runtime, {}, {"dataset": inputs["dataset"]})
        assert other.stdout is not None
        said = [other.stdout.readline() for _ in range(3)]
    assert said[1:] == ["train_classifier-two: takes part as machine 1\n", "train_classifier-two: done\n"]
    check_same(still, one, two)
    found = [np.load(out / "accumulated_attention.npz") for out in (one, two)]
    assert np.abs(found[0]["maps"].astype(int) - found[1]["maps"]).max() <= 2
    assert not list((tmp_path / "store" / ".trainings").glob("*.json"))


def test_a_machine_that_cannot_take_part_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that there is not, another release, and an input that is not there are refused, with both named."""
    out = tmp_path / "store" / ".work" / "train_classifier" / "key"
    out.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    with announced(out, "{}", TWO, {"dataset": tmp_path / "data"}):
        with pytest.raises(BadMachines, match="--number 2: the run has 2 machines; the others are 1 to 1"):
            next(take_part(tmp_path / "store", 2, 1, 1))
        (tmp_path / "data").rmdir()
        with pytest.raises(UnlikeWorker, match="sees no .*data, which .* reads: mount it there under the same path"):
            next(take_part(tmp_path / "store", 1, 1, 1))
        monkeypatch.setattr(machines, "fault_of_this_process", lambda seen: "is not of the release of it")
        with pytest.raises(UnlikeWorker, match=f"{os.uname().nodename} is not of the release"):
            next(take_part(tmp_path / "store", 1, 1, 1))


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training whose lock nobody holds is over: other machines delete it and look for the next."""
    out = tmp_path / "store" / ".work" / "train_classifier" / "key"
    out.mkdir(parents=True)
    with announced(out, "{}", TWO, {}):
        (path,) = (tmp_path / "store" / ".trainings").glob("*.json")
        left = path.read_bytes()
    path.write_bytes(left)

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machines.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        next(take_part(tmp_path / "store", 1, 1, 1))
    assert not path.exists()


@pytest.mark.parametrize("text", ["2", "1@10.0.0.1", "two@10.0.0.1", "2@10.0.0.1:80", "2@"])
def test_machines_are_written_as_number_and_address(tmp_path: Path, text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(BadResource, match="write how many and an address of this one, such as 2@10.0.0.1"):
        runtime_of(tmp_path, "cpu", "auto", 1, machines=text)
    assert runtime_of(tmp_path, "cpu", "auto", 1, machines="3@gpu-host").machines == "3@gpu-host"
