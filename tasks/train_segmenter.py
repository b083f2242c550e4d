"""Train the segmentation network (DeepLab) on label maps (NSROM, stages F and J).

Reads   dataset        the index; its training images
        labels         <id>.png of the labels to train on; 255 trains nothing
        weights        state dict of an ImageNet network, where the settings name a file
        classifier     model.pt of `train_classifier`, where training starts from its backbone
        segmenter      model.pt of the round before, where training starts from it
        before, shown_0 … shown_r   from the third segmenter on, where the best round is delivered: model folder of the
                       last segmenter, and what all so far predict for the validation split
Writes  model.pt, model.json, losses.csv, metrics.json

Every round starts from the same weights again: ImageNet's, or the classifier's, which knows tags alone; or it goes on
from the segmenter of the round before.  Images whose labels are ignored throughout are left out and counted, as are,
where the settings say so, those of several tags.

The iteration ends with the first round that does not help: where the last segmenter agrees no better with the tags of
images kept aside than one before it, the last is handed on untrained, byte for byte.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tag2mask.configs.errors import UserError
from tag2mask.configs.schema import Segmenter
from tag2mask.models.losses import segmentation_loss
from tag2mask.models.parts.parameter_groups import parameter_groups
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.ingest import copy_file
from tag2mask.tasks.dataset.label_maps import IGNORE, read_labels
from tag2mask.tasks.metrics.tag_agreement import best_round, measure_round
from tag2mask.tasks.networks.factory import (
    load_backbone,
    load_model,
    load_pretrained,
    place,
    save_model,
    segmentation_network,
)
from tag2mask.tasks.networks.model_folder import trained_settings
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.augmentation import paste_objects, scale_and_crop
from tag2mask.tasks.training.averaged_weights import AveragedWeights
from tag2mask.tasks.training.loop import Training, autocast, indices_of_step, optimizer_of, poly, seeded, train
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch
from tag2mask.tasks.training.ranks import shared

log = logging.getLogger("tag2mask")
WRITTEN = ("model.pt", "model.json", "losses.csv", "metrics.json")


class NoLabels(UserError, ValueError):
    """There is nothing to train on."""


class LabeledCrops:
    """Batches of random crops of images with their labels."""

    def __init__(self, index: ImageIndex, labels: Path, config: Segmenter) -> None:
        self._labels, self._config = labels, config
        shown = {r.image_id: np.unique(read_labels(labels / f"{r.image_id}.png")) for r in index}
        if config.first_round_tags is not None:
            index = index.only(simple_images(index, config.first_round_tags, shown))
        usable = [record.image_id for record in index if (shown[record.image_id] != IGNORE).any()]
        if not usable:
            raise NoLabels(
                f"{labels}: every pixel of all {len(index)} label maps is ignored; lower minimum_foreground of the "
                "section that makes them: mining or cam_refinement, from the second round on masking or fusion"
            )
        self.index = index.only(usable)
        self.donors = self._images_of_one_class(shown) if config.paste_objects else []
        self._decoded = DecodedImages(self._decode)
        self.prefetch = Prefetch(self._load, config.iterations)

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        record = self.index.records[number]
        size = fitted(record.size, self._config.image_size)
        labels = read_labels(self._labels / f"{record.image_id}.png")
        return resize(self.index.pixels(record), size), resize(labels, size, nearest=True)

    def _images_of_one_class(self, shown: Mapping[str, np.ndarray]) -> list[list[int]]:
        """For each class that has some, the numbers of the images that show it alone, by tags and labels.

        Args:
            shown: image id -> values in its labels.
        """
        found: dict[int, list[int]] = {}
        for number, record in enumerate(self.index):
            objects = [int(value) for value in shown[record.image_id] if value not in (0, IGNORE)]
            if len(objects) == 1 and tuple(objects) == record.tags:
                found.setdefault(objects[0], []).append(number)
        return list(found.values())

    def _crop(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self._decoded[number]
        return scale_and_crop(pixels, labels, self._config.resize, self._config.crop_size, rng)

    def _with_object(self, sample: int, pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A crop, onto which an object is pasted where chance has it."""
        rng = seeded(self._config.seed, sample, 2)
        if not self.donors or rng.random() >= self._config.paste_objects:
            return pixels, labels
        images = self.donors[rng.integers(len(self.donors))]
        return paste_objects(pixels, labels, *self._crop(images[rng.integers(len(images))], rng))

    def _load(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, S, S, 3) and labels (N, S, S), both uint8."""
        config, crops = self._config, []
        for sample, number in indices_of_step(step, config.batch_size, len(self.index), config.seed):
            crops.append(self._with_object(sample, *self._crop(number, seeded(config.seed, sample, 1))))
        images, labels = zip(*crops, strict=True)
        return np.stack(images), np.stack(labels)


def simple_images(index: ImageIndex, tags: int, shown: Mapping[str, np.ndarray]) -> list[str]:
    """Ids of the images with at most so many tags, and of those with a tag that the labels of none of them show.

    Args:
        index: images and their tags.
        tags: how many make an image a simple one.
        shown: image id -> values in its labels.
    """
    simple = [record for record in index if len(record.tags) <= tags]
    seen = {tag for record in simple for tag in record.tags if tag in shown[record.image_id]}
    return [record.image_id for record in index if len(record.tags) <= tags or not seen.issuperset(record.tags)]


def fitted(size: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """(height, width) with the longer one brought to `long_side` pixels; unchanged without it."""
    if long_side is None:
        return size
    factor = long_side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def run(
    config: Segmenter,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    labels: Path,
    weights: Path | None = None,
    classifier: Path | None = None,
    segmenter: Path | None = None,
    before: Path | None = None,
    minimum_share: float = 0.0,
    minimum_gain: float = 0.0,
    **shown: Path,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one; or end the iteration.

    Raises:
        WeightsError: training is to start from the classifier, whose backbone is another, or from a segmenter of
            another architecture; the message says where.
        NoLabels: every pixel of all label maps is ignored.
        NothingKeptAside: no image of the validation split has a tag.
    """
    if before is not None and _handed_on(
        _agreements(dataset, shown, minimum_share), minimum_gain, before, out, runtime
    ):
        return
    index = ImageIndex.read(dataset).split("train")
    torch.manual_seed(config.seed)
    network = segmentation_network(config, len(index.classes))
    backbone = network.segmenter.backbone
    if segmenter is not None:
        load_model(segmenter, network)
    elif classifier is not None:
        load_backbone(classifier, backbone)
    else:
        load_pretrained(backbone, config.backbone, weights)
    place(network, runtime.device)
    data = LabeledCrops(index, labels, config)
    part = config.micro_batch or config.batch_size
    optimizer = _optimizer(network.segmenter, config)
    apply = shared(network)  # once it is settled what is trained

    def loss_of_step(step: int) -> Tensor:
        images, targets = data.prefetch(step)
        total = torch.zeros((), device=runtime.device)
        for start in range(0, config.batch_size, part):
            batch = to_batch(images[start : start + part], runtime.device)
            target = torch.from_numpy(targets[start : start + part]).to(runtime.device)
            with autocast(runtime.precision, runtime.device):
                outputs = apply(batch)
            loss = segmentation_loss(outputs, target) * (len(batch) / config.batch_size)
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    schedule = poly(config.power, config.iterations)
    average = AveragedWeights(network, config.average_decay) if config.average_decay else None
    training = Training(
        network, optimizer, config.iterations, loss_of_step, schedule, calls_backward=True, average=average
    )
    try:
        train(training, out, runtime)
    finally:
        data.prefetch.close()
    settings = trained_settings(config, weights)
    save_model(out, network, {"kind": "segmenter", "classes": index.classes, "config": settings})
    left_out = len(index) - len(data.index)
    write_json(out / "metrics.json", {"images": len(data.index), "left_out": left_out, "steps": config.iterations})


def _agreements(dataset: Path, shown: Mapping[str, Path], minimum_share: float) -> list[float]:
    """Tag F1 of the rounds so far, in order."""
    index = ImageIndex.read(dataset)
    return [measure_round(index, shown[f"shown_{r}"], minimum_share)["tag_f1"] for r in range(len(shown))]


def _handed_on(scores: list[float], minimum_gain: float, before: Path, out: Path, runtime: StageRuntime) -> bool:
    """Make the last segmenter this one's, where it did not help, so that what follows finds its results made."""
    if best_round(scores, minimum_gain) == len(scores) - 1:
        return False
    for file in WRITTEN:
        copy_file(before / file, out / file)
    said = ", ".join(f"{score:.3f}" for score in scores)
    log.warning("the last round did not help (tag F1 of the rounds: %s): no segmenter is trained any more", said)
    runtime.progress(1, 1, "")
    return True


def _optimizer(network: torch.nn.Module, config: Segmenter) -> torch.optim.Optimizer:
    """DeepLab's groups (backbone x1, head x10, its biases x20 without decay), and x2 for biases of the backbone."""
    if config.backbone_factor == 0:
        network.get_submodule("backbone").requires_grad_(False)  # no gradient is computed for it, which makes it fast
    groups = parameter_groups(
        network,
        config.learning_rate,
        backbone_factor=config.backbone_factor,
        weight_decay=config.weight_decay,
        decay_head_bias=False,
    )
    return optimizer_of(groups, config.optimizer, config.momentum)
