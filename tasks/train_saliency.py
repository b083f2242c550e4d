"""Train the reciprocal attention network on photographs with salient-object masks (US 11,151,725, claims 1-7).

Reads   saliency_set   images/, masks/, index.csv of `index_saliency_set`; or
        dataset        the index, and
        targets        <id>.png of `mine_saliency`, whose unknown pixels enter no loss
        weights        state dict of an ImageNet network, where the settings name a file
Writes  model.pt, model.json, losses.csv, metrics.json

The schedule is that of the same authors' PurNet, stage 1 (SGD, poly 0.9, squashed squares, mirror and small
rotations); the claims name none.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tag2mask.configs.saliency import NOT_OF_THE_NETWORK
from tag2mask.configs.schema import Saliency
from tag2mask.models.losses import reciprocal_losses
from tag2mask.models.parameter_groups import parameter_groups
from tag2mask.tasks.common.agreed_targets import AgreedPairs
from tag2mask.tasks.common.augmentation import mirror_and_rotate
from tag2mask.tasks.common.durable import write_json
from tag2mask.tasks.common.label_images import read_grey
from tag2mask.tasks.common.networks import load_pretrained, place, saliency_network, save_model
from tag2mask.tasks.common.photographs import read_rgb, resize
from tag2mask.tasks.common.prefetch import DecodedImages, Prefetch
from tag2mask.tasks.common.runtime import StageRuntime
from tag2mask.tasks.common.tensors import to_batch
from tag2mask.tasks.common.training import Training, arithmetic, indices_of_step, poly, seeded, train

POWER = 0.9
"""Of the falling step size."""


class SaliencyPairs:
    """Batches of augmented photographs with their masks and valid pixels."""

    def __init__(self, folder: Path, config: Saliency) -> None:
        table = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
        self._files = [
            (folder / file, folder / "masks" / f"{image_id}.png")
            for image_id, file in zip(table.image_id, table.file, strict=True)
        ]
        self._config = config
        self._decoded = DecodedImages(self._decode)
        self.prefetch = Prefetch(self._load, config.iterations)

    def __len__(self) -> int:
        return len(self._files)

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        image, mask = self._files[number]
        side = (self._config.image_size, self._config.image_size)
        return resize(read_rgb(image), side), resize(read_grey(mask), side)

    def _load(self, step: int) -> tuple[np.ndarray, ...]:
        """Images (N, S, S, 3), masks (N, S, S), both uint8, and valid pixels (N, S, S) bool."""
        config, examples = self._config, []
        for visit, number in indices_of_step(step, config.batch_size, len(self), config.seed):
            pixels, mask = self._decoded[number]
            examples.append(mirror_and_rotate(pixels, mask, config.rotation, seeded(config.seed, visit, 1)))
        images, masks, valid = zip(*examples, strict=True)
        return np.stack(images), np.stack(masks), np.stack(valid)


def run(
    config: Saliency,
    out: Path,
    runtime: StageRuntime,
    *,
    saliency_set: Path | None = None,
    dataset: Path | None = None,
    targets: Path | None = None,
    weights: Path | None = None,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one."""
    data = _pairs(config, saliency_set, dataset, targets)
    torch.manual_seed(config.seed)
    network = saliency_network(config)
    load_pretrained(network.backbone, config.backbone, weights)
    place(network, runtime.device)

    def loss_of_step(step: int) -> Tensor:
        images, masks, valid = data.prefetch(step)
        target = torch.from_numpy(masks)[:, None].to(runtime.device).float() / 255  # (N, S, S) -> (N, 1, S, S)
        keep = torch.from_numpy(valid)[:, None].to(runtime.device)
        with arithmetic(config.precision, runtime.device):
            levels = network(to_batch(images, runtime.device))
        losses = [
            reciprocal_losses(
                foreground,
                background,
                target,
                keep,
                cooperative=config.cooperative_loss,
                weight=config.cooperative_weight,
            ).total
            for foreground, background in levels
        ]
        return torch.stack(losses).sum()

    groups = parameter_groups(network, config.learning_rate, bias_factor=1.0, weight_decay=config.weight_decay)
    optimiser = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    training = Training(network, optimiser, config.iterations, loss_of_step, poly(POWER, config.iterations))
    try:
        train(training, out, runtime)
    finally:
        data.prefetch.close()
    content = config.model_dump(mode="json", exclude=set(NOT_OF_THE_NETWORK))
    save_model(out, network, {"kind": "saliency", "config": content})
    write_json(out / "metrics.json", {"images": len(data), "steps": config.iterations})


def _pairs(
    config: Saliency, saliency_set: Path | None, dataset: Path | None, targets: Path | None
) -> SaliencyPairs | AgreedPairs:
    """Photographs with masks, or the dataset's own with targets that were mined."""
    if saliency_set is not None:
        return SaliencyPairs(saliency_set, config)
    if dataset is None or targets is None:
        raise ValueError("train_saliency needs a saliency_set, or a dataset and targets")
    return AgreedPairs(dataset, targets, config)
