"""Reciprocal attention between foreground and background (US 11,151,725, claims 1-7) as a saliency system.

The claims name no schedule; it is close to that of the same authors' PurNet, stage 1 (SGD, poly 0.9, images resized to
squares, mirror and small rotations), but here biases learn as weights do, and every learning rate falls.
"""

from pathlib import Path

import torch
from torch import Tensor

from tag2mask.configs.schema import Saliency
from tag2mask.models.backbones import Backbone
from tag2mask.models.losses import reciprocal_losses
from tag2mask.models.parts.parameter_groups import parameter_groups
from tag2mask.models.saliency.map_loss import saliency_map_loss
from tag2mask.models.saliency.reciprocal_attention import ReciprocalSaliency, combined
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.saliency_system import SaliencySystem, batch_of_step
from tag2mask.tasks.training.loop import POWER, Training, autocast, optimizer_of, poly
from tag2mask.tasks.training.ranks import shared
from tag2mask.tasks.training.saliency_pairs import PairSource, SaliencyPairs


def _build(config: Saliency, backbone: Backbone) -> ReciprocalSaliency:
    return ReciprocalSaliency(
        backbone,
        channels=config.channels,
        key_channels=config.key_channels,
        mode=config.attention,
        attention_strides=config.attention_strides,
        detail=config.detail,
    )


def _pairs(config: Saliency, source: PairSource, out: Path) -> SaliencyPairs:
    size = config.batch_size
    return SaliencyPairs(source, config, lambda s: range(s * size, (s + 1) * size), lambda s: False, out)


def _training(config: Saliency, network: ReciprocalSaliency, data: SaliencyPairs, runtime: StageRuntime) -> Training:
    """Every level's foreground and background against the mask."""
    groups = parameter_groups(
        network,
        config.learning_rate,
        backbone_factor=config.backbone_factor,
        bias_factor=1.0,
        weight_decay=config.weight_decay,
    )
    optimizer = optimizer_of(groups, config.optimizer, config.momentum)
    apply = shared(network)

    def loss_of_step(step: int) -> Tensor:
        images, target, keep, _ = batch_of_step(data, step, runtime.device)
        with autocast(runtime.precision, runtime.device):
            levels = apply(images)
        return torch.stack([_loss_of_level(config, maps, target, keep) for maps in levels]).sum()

    return Training(network, optimizer, config.iterations, loss_of_step, poly(POWER, config.iterations))


def _loss_of_level(config: Saliency, maps: tuple[Tensor, Tensor], target: Tensor, keep: Tensor) -> Tensor:
    """Losses of both maps and, where the settings say so, of the saliency that is made of them."""
    cooperative, weight = config.cooperative_loss, config.cooperative_weight
    loss = reciprocal_losses(*maps, target, keep, cooperative=cooperative, weight=weight).total
    if config.map_loss == "none":
        return loss
    return loss + config.map_loss_weight * saliency_map_loss(*maps, target, keep, score=config.map_loss)


def _probabilities(network: ReciprocalSaliency, images: Tensor) -> Tensor:
    return torch.cat(network(images)[-1], 1).sigmoid()


RECIPROCAL = SaliencySystem(_build, _pairs, _training, _probabilities, combined)
