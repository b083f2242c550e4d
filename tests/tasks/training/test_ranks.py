"""Trainings that two processes share, by gloo: the losses, the attention and the weights of one, and a killed rank."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing, nn

from tag2mask.configs.schema import Classifier, Segmenter
from tag2mask.models.parts.batch_norm import freeze_batch_norm
from tag2mask.tasks import train_classifier, train_segmenter
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.executors.ranks import RankFailed, RankRefused, folder_of_rank, run_on_ranks, shared_folder
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.ranks import SynchronizedBatchNorm2d, part_sizes, shared, synchronize_batch_norm
from tests.tasks.drawn_run import write_saliency
from tests.tasks.small_stages import SEGMENTER, TAGGER, TRAINED_BACKBONE, write_inputs

GENTLE = {"learning_rate": 1e-5, "class_init": "zero"}
"""So that rounding is not magnified, as batch norms of a few cells do at higher rates."""
STAGES = {"train_classifier": train_classifier.run, "train_segmenter": train_segmenter.run}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """One thread for the one process, as each of two has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses_of(out: Path) -> list[float]:
    """The losses of a finished training."""
    with (out / "losses.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    """The weights of a finished training."""
    found: dict[str, torch.Tensor] = torch.load(out / "model.pt", weights_only=True)
    return found


@pytest.mark.parametrize(("images", "ranks", "sizes"), [(5, 2, [3, 2]), (4, 2, [2, 2]), (1, 2, [1, 0])])
def test_parts_cover_the_batch(images: int, ranks: int, sizes: list[int]) -> None:
    """Parts differ by one image at most, the larger ones first."""
    assert part_sizes(images, ranks) == sizes


def test_every_rank_finds_the_folder_that_all_share(tmp_path: Path) -> None:
    """What the first rank and the others write to leads back to the stage's folder, whatever that is called."""
    for out in (tmp_path, tmp_path / "rank-1"):
        assert [shared_folder(folder) for folder in (out, folder_of_rank(out, 1), folder_of_rank(out, 12))] == [out] * 3


def test_synchronized_batch_norm_of_one_rank_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without others its output, gradients and running statistics are those of torch's, and frozen ones stay."""
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    torch.manual_seed(0)
    plain, own = nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)))
    freeze_batch_norm(own[1])
    assert synchronize_batch_norm(own) == 1 and isinstance(own[0], SynchronizedBatchNorm2d)
    images = torch.randn(4, 3, 5, 6)
    results = []
    for norm in (plain, own[0]):
        inputs = images.clone().requires_grad_(True)
        outputs = norm(inputs)
        (outputs * torch.arange(outputs.numel()).reshape(outputs.shape).sin()).sum().backward()
        results.append([outputs, inputs.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def small_network() -> nn.Module:
    """Convolutions with batch norms that learn, the same each time."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
    return nn.Sequential(*layers, nn.BatchNorm2d(8, affine=False), nn.Conv2d(8, 4, 1))


def gradients(network: nn.Module, apply: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    """Loss, gradients and running statistics after a step whose loss is a mean over a part of all images' pixels."""
    torch.manual_seed(1)
    outputs = apply(torch.randn(5, 3, 12, 12))
    waves = torch.arange(outputs.numel()).reshape(outputs.shape).sin()
    loss = (outputs * waves).sum() / (outputs[:, :2] > 0).sum()
    loss.backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    return {"loss": loss.detach(), **found, **dict(network.named_buffers())}


def one_of_two(rank: int, folder: str) -> None:
    """Body of a rank: the first writes what it found."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = small_network()
    found = gradients(network, shared(network))
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_gradients_of_two_ranks_are_those_of_one(tmp_path: Path) -> None:
    """Of a batch of five, whose loss no mean over ranks gives, two ranks find the gradients and statistics of one."""
    network = small_network()
    expected = gradients(network, network)
    multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def trained(folder: Path, name: str, stage: str, config: Any, devices: int, **inputs: Path) -> Path:
    """Train in this process, or in several."""
    out = folder / name
    out.mkdir()
    if devices == 1:
        STAGES[stage](config, out, StageRuntime(), **inputs)
    else:
        run_on_ranks(stage, config, out, StageRuntime(devices=devices, threads=devices), {}, inputs)
    return out


def check_same(start: Path, one: Path, two: Path, *, apart: float = 1e-3) -> None:
    """Losses and statistics differ by no more than the order of sums explains, weights by a part of their way at most.

    Args:
        start: a training that moved no weight.
        one: a training in one process.
        two: the same in two.
        apart: how far the ends of a tensor's way may lie from each other, as a part of that way.
    """
    np.testing.assert_allclose(losses_of(two), losses_of(one), rtol=1e-3)
    before, first, second = weights_of(start), weights_of(one), weights_of(two)
    moved = 0
    for name, tensor in first.items():
        way = float((tensor - before[name]).double().norm())
        if "running" in name or way < 1e-12:
            torch.testing.assert_close(second[name], tensor, rtol=1e-2, atol=1e-3, msg=name)
        else:
            assert float((second[name] - tensor).double().norm()) <= apart * way, f"{name}: {way:.2g}"
            moved += 1
    assert moved > len(first) / 3


@pytest.mark.serving
@pytest.mark.parametrize(
    "changes", [{}, TRAINED_BACKBONE | GENTLE | {"saliency_weight": 1.0}], ids=["plain", "batch norms and saliency"]
)
def test_two_processes_train_a_classifier_as_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Losses, weights and accumulated attention, by image, are those of one process."""
    inputs = write_inputs(tmp_path)
    config = Classifier.model_validate({**TAGGER, "learning_rate": 1e-4, **changes})
    given = {"dataset": inputs["dataset"]}
    if config.saliency_weight:
        halves = np.repeat(np.array([[0, 255]], np.uint8), 36, 1).repeat(48, 0)
        ids = ImageIndex.read(inputs["dataset"]).ids
        given["saliency"] = write_saliency(tmp_path / "saliency", dict.fromkeys(ids, halves))
    still = trained(tmp_path, "still", "train_classifier", config.replaced(learning_rate=1e-30), 1, **given)
    one = trained(tmp_path, "one", "train_classifier", config, 1, **given)
    two = trained(tmp_path, "two", "train_classifier", config, 2, **given)
    apart = 0.3 if changes else 1e-3  # GENTLE weights move by a few of their last digits; of half a gradient it is .5
    check_same(still, one, two, apart=apart)
    found = [np.load(out / "accumulated_attention.npz") for out in (one, two)]
    assert (found[0]["image_ids"] == found[1]["image_ids"]).all() and (found[0]["numbers"] == found[1]["numbers"]).all()
    assert np.abs(found[0]["maps"].astype(int) - found[1]["maps"]).max() <= 2
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()} | {".resume"}


@pytest.mark.serving
def test_killed_rank_ends_the_training_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    """When a rank is killed in the middle the stage fails, and the next attempt resumes to the undisturbed bytes."""
    inputs = write_inputs(tmp_path)
    given = {"dataset": inputs["dataset"], "labels": inputs["labels"]}
    config = Segmenter.model_validate({**SEGMENTER, "learning_rate": 1e-4})
    whole = trained(tmp_path, "whole", "train_segmenter", config, 2, **given)
    still = trained(tmp_path, "still", "train_segmenter", config.replaced(learning_rate=1e-30), 1, **given)
    one = trained(tmp_path, "one", "train_segmenter", config, 1, **given)
    check_same(still, one, whole)
    out = tmp_path / "parts"
    out.mkdir()

    def kill_one(done: int, total: int, note: str) -> None:
        if done == 3:
            for pid in ranks_below(os.getpid()):
                os.kill(pid, 9)

    runtime = StageRuntime(devices=2, threads=2, checkpoint_seconds=0.0, report=kill_one)
    with pytest.raises(RankFailed, match="a process of train_segmenter on 2 devices failed"):
        run_on_ranks("train_segmenter", config, out, runtime, {}, given)
    assert list((out / ".resume").glob("checkpoint-*")) and not (out / "model.pt").exists()
    run_on_ranks("train_segmenter", config, out, StageRuntime(devices=2, threads=2), {}, given)
    assert (out / "model.pt").read_bytes() == (whole / "model.pt").read_bytes()
    assert losses_of(out) == losses_of(whole)


def ranks_below(pid: int) -> list[int]:
    """The last rank among the descendants of a process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    launchers = [child for child in children.get(pid, []) if children.get(child)]
    return sorted(rank for launcher in launchers for rank in children[launcher])[-1:]


@pytest.mark.serving
def test_a_rank_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A rank whose torchrun was killed, in a session of its own where no signal finds it, is gone a moment later."""
    body = "import os; from tag2mask.tasks.executors import ranks; ranks._end_with(os.getppid())"
    starter = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {body!r}], start_new_session=True)\n"
        "print(child.pid, flush=True)\nchild.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        rank = int(parent.stdout.readline())
        time.sleep(1)
        os.kill(rank, 0)
        parent.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _lives(rank):
        time.sleep(0.2)
    assert not _lives(rank)


def _lives(process: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_error_that_a_person_can_mend_comes_back(tmp_path: Path) -> None:
    """What a rank refuses is reported as it would be reported by one process, without a traceback."""
    inputs = write_inputs(tmp_path)
    (tmp_path / "empty").mkdir()
    for path in inputs["labels"].glob("*.png"):
        write_labels(path, np.full_like(read_labels(path), 255))
    runtime = StageRuntime(devices=2, threads=2)
    given = {"dataset": inputs["dataset"], "labels": inputs["labels"]}
    with pytest.raises(RankRefused, match="every pixel of all 7 label maps is ignored"):
        run_on_ranks("train_segmenter", Segmenter.model_validate(SEGMENTER), tmp_path / "empty", runtime, {}, given)
