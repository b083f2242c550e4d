"""The training loop: order, schedule, checkpoints, and what it refuses."""

import csv
import math
import shutil
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.averaged_weights import AveragedWeights
from tag2mask.tasks.training.loop import (
    BatchesOfEpochs,
    Training,
    TrainingDiverged,
    autocast,
    indices_of_step,
    order_of_epoch,
    poly,
    seeded,
    train,
)

STEPS = 12


class Interrupted(RuntimeError):
    """What a training is interrupted with."""


class Memory:
    """Something that a stage accumulates beside the network."""

    def __init__(self) -> None:
        self.sum = torch.zeros(3)

    def state(self) -> dict[str, Tensor]:
        return {"sum": self.sum}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.sum.copy_(state["sum"])


def regression(*, calls_backward: bool = False, average: bool = False) -> tuple[Training, Memory]:
    """A small regression with batch norm, momentum and a falling learning rate."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    groups = [{"params": network[0].parameters(), "lr": 0.1}, {"params": network[3].parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    memory = Memory()

    def loss_of_step(step: int) -> Tensor:
        inputs = torch.from_numpy(seeded(7, step).normal(size=(5, 3)).astype(np.float32))
        memory.sum += inputs.sum(0)
        loss: Tensor = (network(inputs)[:, 0] - inputs.sum(1)).square().mean()
        if calls_backward:
            torch.autograd.backward(loss)
        return loss

    training = Training(network, optimizer, STEPS, loss_of_step, poly(0.9, STEPS), memory, calls_backward)
    training.average = AveragedWeights(network, 0.8) if average else None
    return training, memory


def interrupting(step: int) -> StageRuntime:
    """Resources of a training that is interrupted after a step, with a checkpoint after every step before."""

    def report(done: int, total: int, note: str) -> None:
        if done == step:
            raise Interrupted

    return StageRuntime(checkpoint_seconds=0.0, report=report)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("stops", [(1,), (2,), (5, 9), (11, 12), (12,), tuple(range(1, 13))])
def test_interrupted_anywhere_it_ends_the_same(tmp_path: Path, stops: tuple[int, ...], average: bool) -> None:
    """Weights, averaged or not, losses and what was accumulated are equal, wherever and however often it stopped."""
    whole, whole_memory = regression(average=average)
    train(whole, tmp_path / "whole", StageRuntime())
    for stop in stops:
        with pytest.raises(Interrupted):
            train(regression(average=average)[0], tmp_path / "parts", interrupting(stop))
    resumed, memory = regression(average=average)
    train(resumed, tmp_path / "parts", StageRuntime())
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert whole.losses == resumed.losses and torch.equal(whole_memory.sum, memory.sum)
    assert (tmp_path / "parts/losses.csv").read_bytes() == (tmp_path / "whole/losses.csv").read_bytes()


def test_finished_steps_are_not_repeated(tmp_path: Path) -> None:
    """A resumed training takes only the steps after its checkpoint."""
    with pytest.raises(Interrupted):
        train(regression()[0], tmp_path, interrupting(8))
    seen: list[int] = []
    train(regression()[0], tmp_path, StageRuntime(report=lambda done, total, note: seen.append(done)))
    assert seen == [8, 9, 10, 11, 12]


def test_checkpoints_keep_their_distance(tmp_path: Path) -> None:
    """Before the agreed time has passed no checkpoint is written."""
    train(regression()[0], tmp_path, StageRuntime(checkpoint_seconds=1000))
    assert not (tmp_path / ".resume").exists()


def test_a_stage_may_call_backward_itself(tmp_path: Path) -> None:
    """A loss that has been propagated by the stage trains as one that the loop propagates."""
    ends = []
    for calls in (False, True):
        training, _ = regression(calls_backward=calls)
        train(training, tmp_path / str(calls), StageRuntime())
        ends.append(training.network.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_every_group_follows_the_schedule(tmp_path: Path) -> None:
    """The learning rates of all groups fall by the same factor, from their own initial value."""
    training, _ = regression()
    rates: list[list[float]] = []
    loss_of_step = training.loss_of_step

    def watched(step: int) -> Tensor:
        rates.append([group["lr"] for group in training.optimizer.param_groups])
        return loss_of_step(step)

    training.loss_of_step = watched
    train(training, tmp_path, StageRuntime())
    factors = [(1 - step / STEPS) ** 0.9 for step in range(STEPS)]
    assert rates == [[pytest.approx(0.1 * f), pytest.approx(0.2 * f)] for f in factors]


def test_the_loss_falls_and_is_written_down(tmp_path: Path) -> None:
    """`losses.csv` has one line for each step from 1, and the network ends in evaluation mode."""
    training, _ = regression()
    train(training, tmp_path, StageRuntime())
    with (tmp_path / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    assert [float(row["loss"]) for row in rows] == pytest.approx(training.losses, rel=1e-5)
    assert not training.network.training


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_diverged_training_stops(tmp_path: Path, value: float) -> None:
    """A loss that is no number any more ends the training, and the message names step and remedy."""
    training, _ = regression()
    loss_of_step = training.loss_of_step
    training.loss_of_step = lambda step: loss_of_step(step) * (value if step == 3 else 1)
    with pytest.raises(TrainingDiverged, match=f"the loss of step 3 is {value}: lower learning_rate"):
        train(training, tmp_path, StageRuntime())


def test_epochs_visit_every_image_once() -> None:
    """Each epoch is a permutation of all images, no two alike, and its last batch may be smaller."""
    steps = list(BatchesOfEpochs(10, 4, 3, seed=5))
    assert len(BatchesOfEpochs(10, 4, 3, seed=5)) == 9 and [len(step) for step in steps] == [4, 4, 2] * 3
    samples = [sample for step in steps for sample, _ in step]
    assert samples == list(range(30))
    epochs = [[image for step in steps[3 * e : 3 * e + 3] for _, image in step] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert steps != list(BatchesOfEpochs(10, 4, 3, seed=6)) and steps == list(BatchesOfEpochs(10, 4, 3, seed=5))


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (3, 8), (1, 2), (12, 4)])
def test_passes_follow_each_other_without_a_gap(count: int, batch: int) -> None:
    """Over as many steps as there are images, every image is visited equally often, in full batches."""
    pairs = [pair for step in range(count) for pair in indices_of_step(step, batch, count, seed=2)]
    assert [sample for sample, _ in pairs] == list(range(count * batch))
    assert set(Counter(image for _, image in pairs).values()) == {batch}
    for epoch in range(batch):
        own = [image for sample, image in pairs if sample // count == epoch]
        assert own == order_of_epoch(count, 2, epoch).tolist()


def test_chance_depends_on_nothing_but_its_numbers() -> None:
    """Generators with the same numbers agree, and any other number or order gives another."""
    draws = [float(seeded(*parts).random()) for parts in ((1, 2, 3), (1, 2, 3), (3, 2, 1), (1, 2), (1, 2, 4))]
    assert draws[0] == draws[1] and len(set(draws)) == 4


def test_poly_starts_at_one_and_never_reaches_zero() -> None:
    """The factor is 1 at first, falls at every step, and is still positive at the last."""
    factors = [poly(0.9, 50)(step) for step in range(50)]
    assert factors[0] == 1 and all(a > b > 0 for a, b in zip(factors, factors[1:], strict=False))
    assert factors[25] == pytest.approx(0.5**0.9)


def test_parameters_stay_in_single_precision() -> None:
    """With bfloat16 products are rough and parameters and gradients are float32; with float32 nothing is rough."""
    layer, inputs = nn.Linear(64, 64), torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    exact = layer(inputs)
    with autocast("float32", "cpu"):
        assert torch.equal(layer(inputs), exact)
    with autocast("bfloat16", "cpu"):
        rough = layer(inputs)
    assert rough.dtype == torch.bfloat16 and torch.allclose(rough.float(), exact, atol=0.1)
    torch.autograd.backward(rough.float().sum())
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32


def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever bit of the newest checkpoint turns over, it is named, and the training goes on from the one before."""
    whole, _ = regression()
    train(whole, tmp_path / "whole", StageRuntime())
    with pytest.raises(Interrupted):
        train(regression()[0], tmp_path / "parts", interrupting(9))
    older, newest = sorted((tmp_path / "parts/.resume").glob("checkpoint-*"))
    assert (older.name, newest.name) == ("checkpoint-000000007", "checkpoint-000000008")
    content = bytearray(newest.read_bytes())
    for place in range(0, len(content), 97):
        content[place] ^= 1 << place % 8
        newest.write_bytes(content)
        content[place] ^= 1 << place % 8
        seen: list[int] = []
        shutil.copytree(tmp_path / "parts", tmp_path / str(place))
        resumed, _ = regression()
        runtime = StageRuntime(report=lambda done, total, note, seen=seen: seen.append(done))
        train(resumed, tmp_path / str(place), runtime)
        assert seen == [8, 9, 10, 11, 12] and f"{place}/.resume/{newest.name}: is not what was written" in caplog.text
        assert resumed.losses == whole.losses


def test_without_a_sound_checkpoint_the_training_starts_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where both checkpoints are damaged, both are named and deleted, and the training starts from its first step."""
    with pytest.raises(Interrupted):
        train(regression()[0], tmp_path, interrupting(5))
    saved = sorted((tmp_path / ".resume").glob("checkpoint-*"))
    for path in saved:
        path.write_bytes(path.read_bytes()[:-100])
    training, _ = regression()
    train(training, tmp_path, StageRuntime(checkpoint_seconds=1000))
    assert len(saved) == 2 and len(training.losses) == STEPS
    assert all(f"{path}: is not what was written" in caplog.text and not path.exists() for path in saved)


def test_an_unreadable_checkpoint_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory or disk fail while a checkpoint is read, it stays for another attempt."""
    with pytest.raises(Interrupted):
        train(regression()[0], tmp_path, interrupting(5))
    for place, name, failure in ((torch, "load", MemoryError()), (Path, "open", OSError(24, "too many files"))):
        with monkeypatch.context() as context, pytest.raises(type(failure)):
            context.setattr(place, name, Mock(side_effect=failure))
            train(regression()[0], tmp_path, StageRuntime())
        assert len(list((tmp_path / ".resume").glob("checkpoint-*"))) == 2
