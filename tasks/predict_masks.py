"""Class scores and label map of each image of a split, by a segmenter (NSROM, stages G and K).

Reads   dataset            the index
        model              model folder of `train_segmenter`
Writes  scores/<id>.npz    scores (K, h, w) float16, probabilities on the network's grid; numbers (K,) classes 0..C
        labels/<id>.png    (H, W) uint8, the most probable class of every pixel

Only classes that some pixel gives more than `KEPT` are kept in `scores`; the background always is.
"""

import io
from collections import defaultdict
from collections.abc import Iterator
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


def _write(out: Path, record: ImageRecord, scores: Tensor, config: PredictionOf) -> list[Path]:
    if config.filter_by_tags and config.split == "train":
        allowed = torch.zeros(len(scores), dtype=torch.bool)
        allowed[[0, *record.tags]] = True
        scores = torch.where(allowed[:, None, None].to(scores.device), scores, 0.0)
        scores = scores / scores.sum(0, keepdim=True).clamp_min(1e-8)
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
