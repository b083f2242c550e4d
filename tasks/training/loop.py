"""The training loop that every network shares: it can be killed at any step and resumed to the same bytes.

Nothing random has a hidden state: order and augmentation of a step follow from (seed, step) alone, so a checkpoint is
the network, the optimizer, the average of the weights and what the stage accumulated. Learning rates follow from the
step likewise, and not by `LambdaLR`, whose state would be one more thing to resume.
"""

import io
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tag2mask.configs.errors import UserError
from tag2mask.configs.sections.section import Optimizer
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.executors.ranks import shared_folder
from tag2mask.tasks.networks.checkpoints import checkpoints, save_checkpoint
from tag2mask.tasks.store.journal import RESUME
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.averaged_weights import AveragedWeights
from tag2mask.tasks.training.ranks import is_first, wait_for_all

POWER = 0.9
"""Of a learning rate that falls."""
log = logging.getLogger("tag2mask")


class Stateful(Protocol):
    """Something besides network and optimizer that belongs to the state of a training."""

    def state(self) -> dict[str, Tensor]:
        """Tensors to keep in a checkpoint."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""


class TrainingDiverged(UserError, RuntimeError):
    """The loss is no longer a finite number."""


@dataclass
class Training:
    """One training: what is trained, by which steps, for how long."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    loss_of_step: Callable[[int], Tensor]
    """Takes the step (from 0), returns the scalar loss; has called `backward` already if `calls_backward`."""
    learning_rate_factor: Callable[[int], float]
    """Factor on every group's initial learning rate."""
    extra: Stateful | None = None
    calls_backward: bool = False
    losses: list[float] = field(default_factory=list)
    group_factor: Callable[[int, str], float] | None = None
    """Takes the step and a group's name; a further factor on that group's learning rate."""
    average: AveragedWeights | None = None
    """Running average of the weights; at the end the network has them instead of its last ones."""


def autocast(precision: str, device: str) -> torch.autocast:
    """Context of a forward pass in `float32` or `bfloat16`; parameters and losses stay in float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


def seeded(*parts: int) -> np.random.Generator:
    """A generator that depends on nothing but these numbers."""
    return np.random.default_rng(parts)


@lru_cache(maxsize=4)
def order_of_epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    """(count,) the order in which an epoch samples its images."""
    return seeded(seed, epoch, 0).permutation(count)


def indices_of_step(step: int, batch_size: int, count: int, seed: int) -> list[tuple[int, int]]:
    """(sample, image) of the images of a step, where passes over all images follow each other without a gap.

    The sample is the running number of the image in the whole training: with the seed it makes an augmentation unique.
    """
    return images_of_samples(range(step * batch_size, (step + 1) * batch_size), count, seed)


def images_of_samples(samples: range, count: int, seed: int) -> list[tuple[int, int]]:
    """(sample, image) of running numbers of images in a whole training, as in `indices_of_step`."""
    result = []
    for sample in samples:
        epoch, position = divmod(sample, count)
        result.append((sample, int(order_of_epoch(count, seed, epoch)[position])))
    return result


class BatchesOfEpochs(Sequence[list[tuple[int, int]]]):
    """The steps of a training by whole epochs, whose last batch may be smaller: for each its (sample, image) pairs.

    The sample is the running number of the image in the whole training.  Steps are made when they are asked for: a
    training of a million images has many.

    Args:
        count: images.
        batch_size: images a step.
        epochs: passes over all images.
        seed: of their order.
    """

    def __init__(self, count: int, batch_size: int, epochs: int, seed: int) -> None:
        self._count, self._batch_size, self._epochs, self._seed = count, batch_size, epochs, seed

    def __len__(self) -> int:
        return self._epochs * -(-self._count // self._batch_size)

    def __getitem__(self, step: Any) -> Any:  # no slices
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} of {len(self)}")
        epoch, part = divmod(step, len(self) // self._epochs)
        first, last = part * self._batch_size, min((part + 1) * self._batch_size, self._count)
        samples = range(epoch * self._count + first, epoch * self._count + last)
        return images_of_samples(samples, self._count, self._seed)


def poly(power: float, steps: int) -> Callable[[int], float]:
    """The learning rate falls as (1 - step / steps) ** power, at every step (DeepLab's: every ten)."""
    return lambda step: (1 - step / steps) ** power


def optimizer_of(
    groups: list[dict[str, Any]], kind: Optimizer, momentum: float, *, nesterov: bool = False
) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, which reads no momentum; learning rates and weight decay are those of the groups."""
    if kind == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov and momentum > 0)


def train(training: Training, out: Path, runtime: StageRuntime) -> None:
    """Run a training from its last checkpoint, if there is one, to its end; writes `losses.csv` (step, loss).

    Args:
        training: what to do.
        out: the stage's folder; checkpoints lie in its hidden part.
        runtime: device and how often to write a checkpoint.

    Raises:
        TrainingDiverged: the loss became infinite or NaN; the message names the step.
    """
    base = [group["lr"] for group in training.optimizer.param_groups]
    folder = shared_folder(out) / RESUME
    first = _resume(training, folder)
    wait_for_all()  # before the first rank writes another checkpoint
    training.network.train()
    saved = time.monotonic()
    for step in range(first, training.steps):
        for group, rate in zip(training.optimizer.param_groups, base, strict=True):
            group["lr"] = rate * training.learning_rate_factor(step)
            if training.group_factor is not None:
                group["lr"] *= training.group_factor(step, group["name"])
        _one_step(training, step)
        recent = training.losses[-50:]
        runtime.progress(step + 1, training.steps, f"loss {math.fsum(recent) / len(recent):.4f}")
        due = is_first() and time.monotonic() - saved > runtime.checkpoint_seconds
        if due and step + 1 < training.steps:
            _save(training, folder, step + 1)
            saved = time.monotonic()
    if training.average is not None:
        training.network.load_state_dict(training.average.state(), strict=True)
    training.network.eval()
    rows = [(step, f"{loss:.6g}") for step, loss in enumerate(training.losses, start=1)]
    write_table(out / "losses.csv", rows, ("step", "loss"))


def _one_step(training: Training, step: int) -> None:
    training.optimizer.zero_grad(set_to_none=True)
    loss = training.loss_of_step(step)
    if not training.calls_backward:
        torch.autograd.backward(loss)
    training.optimizer.step()
    if training.average is not None:
        training.average.update(training.network, step)
    value = float(loss.detach())  # read last: a GPU works on while its next steps are handed to it
    if not math.isfinite(value):
        raise TrainingDiverged(f"the loss of step {step} is {value}: lower learning_rate")
    training.losses.append(value)


def _save(training: Training, folder: Path, step: int) -> None:
    state: dict[str, Any] = {
        "network": training.network.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "losses": torch.tensor(training.losses, dtype=torch.float64),
        "extra": training.extra.state() if training.extra else {},
        "average": training.average.state() if training.average else {},
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    save_checkpoint(folder, step, buffer.getbuffer())


def _resume(training: Training, folder: Path) -> int:
    """Take over the newest checkpoint that is sound; the step to go on with."""
    for step, content in checkpoints(folder):
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except MemoryError:  # another attempt can read it
            raise
        except Exception as error:  # its bytes are those that were written: by another version of torch
            log.warning("the checkpoint of step %d in %s cannot be read (%s)", step, folder, error)
            continue
        _restore(training, state)
        return step
    return 0


def _restore(training: Training, state: dict[str, Any]) -> None:
    training.network.load_state_dict(state["network"], strict=True)
    training.optimizer.load_state_dict(state["optimizer"])
    training.losses[:] = state["losses"].tolist()
    if training.extra:
        training.extra.restore(state["extra"])
    if training.average:
        training.average.restore(state["average"])
