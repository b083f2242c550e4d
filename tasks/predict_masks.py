"""Class scores and label map of each image of a split, by a segmenter (NSROM, stages G and K).

Reads   dataset            the index
        model              model folder of `train_segmenter`
Writes  scores/<id>.npz    scores (K, h, w) float16, probabilities on the network's grid; numbers (K,) classes 0..C
        labels/<id>.png    (H, W) uint8, the most probable class of every pixel

Only classes that some pixel gives more than `KEPT` are kept in `scores`; the background always is.

Tags may correct the class of a training image's objects, never whether there is one (`reassign_to_tags`).  To drop the
classes that are not tagged and scale up the rest would make background of an object that is taken for another class.
"""

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.schema import PredictionOf, Segmenter
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.networks.factory import load_for_inference, segmentation_network
from tag2mask.tasks.networks.model_folder import check_classes, read_architecture
from tag2mask.tasks.networks.tensors import batches, to_batch
from tag2mask.tasks.store.files import write_file
from tag2mask.tasks.store.journal import process_images
from tag2mask.tasks.store.runtime import StageRuntime

KEPT = 0.01
"""Probability that a class must exceed somewhere to be kept."""


def run(config: PredictionOf, out: Path, runtime: StageRuntime, *, dataset: Path, model: Path) -> None:
    """Predict all images of the split that are not done yet."""
    index = ImageIndex.read(dataset).split(config.split)
    architecture = read_architecture(model, "segmenter")
    check_classes(model, architecture, index.classes)
    network = segmentation_network(Segmenter.model_validate(architecture["config"]), len(index.classes))
    load_for_inference(model, network, runtime.device)
    records = {record.image_id: record for record in index}

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        sizes: dict[tuple[int, int], list[str]] = defaultdict(list)
        for image_id in image_ids:
            sizes[records[image_id].size].append(image_id)
        for same in sizes.values():  # a batch holds images of one size
            for part in batches(same, config.batch_size):
                chosen = [records[image_id] for image_id in part]
                with torch.inference_mode():
                    scores = segment(network, [index.pixels(r) for r in chosen], config, runtime.device)
                    for record, score in zip(chosen, scores, strict=True):
                        yield record.image_id, _write(out, record, score, config)

    process_images(list(index.ids), out, process, runtime)


def segment(network: nn.Module, pixels: list[np.ndarray], config: PredictionOf, device: str) -> Tensor:
    """Class probabilities, averaged over scales and mirror images.

    Args:
        network: (N, 3, H, W) -> (N, C + 1, h, w) logits.
        pixels: N images (H, W, 3) uint8 of one size.
        config: size, scales, mirroring.
        device: where the network is.

    Returns:
        (N, C + 1, h, w) float32 on the grid of the first scale.
    """
    height, width = pixels[0].shape[:2]
    factor = config.image_size / max(height, width) if config.image_size else 1.0
    total: Tensor | None = None
    for scale in config.scales:
        size = (max(1, round(height * factor * scale)), max(1, round(width * factor * scale)))
        images = to_batch([resize(image, size) for image in pixels], device)
        views = [network(images)]
        if config.flip:
            views.append(network(images.flip(3)).flip(3))
        probabilities = torch.stack([view.float().softmax(1) for view in views]).mean(0)
        if total is None:
            total = probabilities
        else:
            total = total + F.interpolate(probabilities, size=total.shape[2:], mode="bilinear", align_corners=False)
    assert total is not None  # settings hold one scale at least
    return total / len(config.scales)


def reassign_to_tags(scores: Tensor, tags: Sequence[int]) -> Tensor:
    """Give the foreground's probability to the classes that are tagged, in proportion to their own.

    Tags say which classes an image shows, not where: the background keeps its probability, and the rest, 1 minus it, is
    shared among the tagged classes.  Tags restrict a prediction's classes likewise in Wei et al., "STC" (TPAMI 2017).

    Args:
        scores: (C + 1, h, w) floating probabilities that sum to one over the classes, plane 0 the background.
        tags: class numbers 1..C of the image, all different; without any, everything becomes background.

    Returns:
        (C + 1, h, w), summing to one; zero for classes that are not tagged.
    """
    reassigned = torch.zeros_like(scores)
    if not tags:
        reassigned[0] = 1
        return reassigned
    numbers = torch.as_tensor(list(tags), device=scores.device)
    tagged = scores[numbers] + torch.finfo(torch.float32).tiny  # where all are zero, they share equally
    reassigned[0] = scores[0]
    reassigned[numbers] = tagged / tagged.sum(0, keepdim=True) * (1 - scores[0])
    return reassigned


def _write(out: Path, record: ImageRecord, scores: Tensor, config: PredictionOf) -> list[Path]:
    if config.filter_by_tags and config.split == "train":
        scores = reassign_to_tags(scores, record.tags)
    large = F.interpolate(scores[None], size=record.size, mode="bilinear", align_corners=False)[0]
    labels = large.argmax(0).to(torch.uint8).cpu().numpy()
    kept = scores.amax((1, 2)) > KEPT
    kept[0] = True
    buffer = io.BytesIO()
    chosen = scores[kept].half().cpu().numpy()
    np.savez(buffer, scores=chosen, numbers=kept.nonzero()[:, 0].to(torch.uint8).cpu().numpy())
    path = out / "scores" / f"{record.image_id}.npz"
    write_file(path, lambda file: file.write(buffer.getbuffer()))
    return [path, write_labels(out / "labels" / f"{record.image_id}.png", labels)]
