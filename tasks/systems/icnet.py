"""ICNet as a group system: single-image saliency, made consistent within the group."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tag2mask.configs.schema import Cosaliency
from tag2mask.models.backbones import Backbone
from tag2mask.models.cosaliency.group_collaboration import GroupBatch
from tag2mask.models.cosaliency.icnet import ICNet
from tag2mask.models.losses import iou_loss
from tag2mask.tasks.systems.group_system import GroupSystem


def _build(config: Cosaliency, backbone: Backbone) -> ICNet:
    return ICNet(backbone, channels=config.channels, detail_channels=config.detail_channels, grids=config.grids)


def _training_parts(network: ICNet, groups: int) -> Mapping[str, nn.Module]:
    return {}


def _loss(config: Cosaliency, parts: nn.ModuleDict, batch: GroupBatch, saliency: Tensor) -> Tensor:
    levels = parts["network"](batch.images, saliency)
    return torch.stack([iou_loss(level, batch.target, batch.valid).mean() for level in levels]).mean()


ICNET = GroupSystem(_build, two_groups=False, training_parts=_training_parts, loss=_loss)
