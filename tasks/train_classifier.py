"""Train the tag classifier with graph reasoning, accumulating its attention over the epochs (NSROM, stage A).

Reads   dataset                    the index; its training images and tags
        weights                    state dict of an ImageNet network, where the settings name a file
        saliency                   saliency/<id>.png (H, W) uint8, 255 = salient, where the class maps learn from it
Writes  model.pt, model.json       the network
        accumulated_attention.npz  maps (P, h, w) uint8, image_ids (P,), numbers (P,) class 1..C
        losses.csv, metrics.json
"""

from pathlib import Path

import torch
from torch import Tensor

from tag2mask.configs.schema import Classifier
from tag2mask.models.losses import class_saliency_loss, tag_loss
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.networks.factory import classifier_network, load_pretrained, place, save_model
from tag2mask.tasks.networks.model_folder import trained_settings
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.accumulated_attention import AttentionAccumulator
from tag2mask.tasks.training.loop import Training, autocast, train
from tag2mask.tasks.training.ranks import shared
from tag2mask.tasks.training.saliency_targets import saliency_targets
from tag2mask.tasks.training.tag_training import drops, tag_batches, tag_optimizer


def run(
    config: Classifier,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    weights: Path | None = None,
    saliency: Path | None = None,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one."""
    index = ImageIndex.read(dataset).split("train")
    torch.manual_seed(config.seed)
    network = classifier_network(config, len(index.classes))
    load_pretrained(network.backbone, config.backbone, weights)
    place(network, runtime.device)
    tags = torch.from_numpy(index.tag_matrix()).to(runtime.device)
    with torch.no_grad():
        cells = network.eval()(torch.zeros(1, 3, config.image_size, config.image_size, device=runtime.device))[1].shape
    side = (cells[2], cells[3])
    accumulator = AttentionAccumulator(tags.cpu().numpy(), side, config.accumulate_probability)
    with (
        tag_batches(network, index, config, out, runtime) as data,
        saliency_targets(saliency, index.ids, data.steps, side, runtime.device) as targets,
    ):
        steps = len(data.steps)
        per_epoch = steps // config.epochs

        optimizer, factor = tag_optimizer(network, config), drops(config, per_epoch)
        apply = shared(network)

        def loss_of_step(step: int) -> Tensor:
            numbers, inputs = data.batch(step)
            with autocast(runtime.precision, runtime.device):
                logits, maps = apply(inputs)
            epoch = step // per_epoch
            maps = data.mirror_back(step, maps)
            if epoch >= config.accumulate_from:
                accumulator.add(numbers, logits, maps, last_epoch=epoch == config.epochs - 1)
            loss = tag_loss(logits.float(), tags[numbers])
            if targets is None:
                return loss
            seen = class_saliency_loss(maps, tags[numbers], targets(step), overlap=config.saliency_overlap)
            return loss + config.saliency_weight * seen

        train(Training(network, optimizer, steps, loss_of_step, factor, accumulator), out, runtime)
    accumulator.save(out, index.ids)
    settings = trained_settings(config, weights)
    save_model(out, network, {"kind": "classifier", "classes": index.classes, "config": settings})
    write_json(out / "metrics.json", {"images": len(index), "steps": steps})
