"""Train the integral attention model on the accumulated attention (NSROM, stage C).

Reads   dataset                the index; its training images
        classifier             accumulated_attention.npz of `train_classifier`; model.pt, where training starts from it
        weights                state dict of an ImageNet network, where the settings name a file
        saliency               saliency/<id>.png (H, W) uint8, 255 = salient, where the class maps learn from it
Writes  model.pt, model.json, losses.csv, metrics.json
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.configs.schema import Attention
from tag2mask.models.losses import class_saliency_loss, integral_attention_loss
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.networks.factory import attention_network, load_model, load_pretrained, place, save_model
from tag2mask.tasks.networks.model_folder import check_classes, read_architecture, trained_settings
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.accumulated_attention import AccumulatedAttention
from tag2mask.tasks.training.loop import Training, autocast, train
from tag2mask.tasks.training.ranks import shared
from tag2mask.tasks.training.saliency_targets import saliency_targets
from tag2mask.tasks.training.tag_training import drops, tag_batches, tag_optimizer


def run(
    config: Attention,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    classifier: Path,
    weights: Path | None = None,
    saliency: Path | None = None,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one.

    Raises:
        LacksImages: images were added, or their tags changed, after the classifier was trained.
        WeightsError: training is to start from the classifier, whose architecture is another; the message says where.
    """
    index = ImageIndex.read(dataset).split("train")
    accumulated = AccumulatedAttention.read(classifier)
    accumulated.require(index, classifier)
    check_classes(classifier, read_architecture(classifier, "classifier"), index.classes)
    torch.manual_seed(config.seed)
    network = attention_network(config, len(index.classes))
    load_pretrained(network.backbone, config.backbone, weights)
    if config.start == "classifier":
        load_model(classifier, network)
    place(network, runtime.device)
    tags = torch.from_numpy(index.tag_matrix()).to(runtime.device)
    with torch.no_grad():
        cells = network.eval()(torch.zeros(1, 3, config.image_size, config.image_size, device=runtime.device)).shape
    with (
        tag_batches(network, index, config, out, runtime) as data,
        saliency_targets(saliency, index.ids, data.steps, (cells[2], cells[3]), runtime.device) as targets,
    ):
        steps = len(data.steps)

        optimizer, factor = tag_optimizer(network, config), drops(config, steps // config.epochs)
        apply = shared(network)

        def loss_of_step(step: int) -> Tensor:
            numbers, inputs = data.batch(step)
            with autocast(runtime.precision, runtime.device):
                scores = data.mirror_back(step, apply(inputs))
            target = accumulated.target([index.ids[number] for number in numbers], len(index.classes))
            target = target.to(runtime.device)
            if target.shape[2:] != scores.shape[2:]:  # the two networks may differ in stride or image size
                target = F.interpolate(target, size=scores.shape[2:], mode="bilinear", align_corners=False)
            loss = integral_attention_loss(scores[:, : network.classes], target)
            if targets is None:
                return loss
            maps = network.class_maps(scores.float())
            seen = class_saliency_loss(maps, tags[numbers], targets(step), overlap=config.saliency_overlap)
            return loss + config.saliency_weight * seen

        train(Training(network, optimizer, steps, loss_of_step, factor), out, runtime)
    settings = trained_settings(config, weights)
    save_model(out, network, {"kind": "attention", "classes": index.classes, "config": settings})
    write_json(out / "metrics.json", {"images": len(index), "steps": steps})
