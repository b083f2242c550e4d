"""Batches of one or two groups of images: which images take part in a step, and what they are to show."""

import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from tag2mask.configs.errors import UserError
from tag2mask.configs.schema import Cosaliency
from tag2mask.models.cosaliency.group_collaboration import GroupBatch
from tag2mask.tasks.algorithms.tag_groups import cooccurrence, hard_negative, reference_order
from tag2mask.tasks.dataset.label_maps import IGNORE
from tag2mask.tasks.groups.sources import GroupSource
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.training.augmentation import jitter_colors
from tag2mask.tasks.training.loop import order_of_epoch, seeded
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch

log = logging.getLogger("tag2mask")


class NoTargets(UserError, ValueError):
    """There is nothing to train on: no image has a pixel that its group shares."""


@dataclass(frozen=True)
class Arrays:
    """A step's images as they come from the disk, augmented."""

    images: list[np.ndarray]
    """N images (S, S, 3) uint8."""
    saliency: np.ndarray
    """(N, S, S) uint8."""
    own: np.ndarray
    """(N, S, S) uint8, target of the image's own group: 0, 1, 255 ignored."""
    other: np.ndarray
    """(N, S, S) uint8, target of the step's other group."""
    groups: list[int]
    """The group, 1..C, that each image stands for."""
    positions: list[int]
    """Of the images in their source."""


class GroupBatches:
    """Batches of a training.  What a step shows depends on (seed, step) alone.

    All groups take turns, in an order that changes from pass to pass.  A group's images are drawn with those first that
    belong to no other group; with `pairs`, a second group is the one that most often occurs with it, or any where none
    does.

    Raises:
        NoTargets: no group has two images whose target has a foreground pixel; groups without are logged and left out.
    """

    def __init__(self, source: GroupSource, config: Cosaliency, *, pairs: bool) -> None:
        self._source, self._config, self._pairs = source, config, pairs
        self._decoded = DecodedImages(source.decode)
        self._counts = cooccurrence(source.tags, len(source.names))
        self.usable = self._scan()
        self.groups = self._groups()
        self.prefetch = Prefetch(self._load, config.iterations)

    def _scan(self) -> frozenset[tuple[int, int]]:
        """(position, group) of all targets with a foreground pixel."""
        source = self._source
        return frozenset(
            (position, group)
            for position, own in enumerate(source.tags)
            for group, target in zip(own, self._decoded[position][2], strict=True)
            if (target == 1).any()
        )

    def _groups(self) -> list[int]:
        """The groups to train on: those with two usable images, since one alone shares nothing."""
        source = self._source
        sizes = Counter(group for _, group in self.usable)
        bare = [group for group in sorted({g for own in source.tags for g in own}) if sizes[group] < 2]
        if len(bare) == len({g for own in source.tags for g in own}):
            raise NoTargets(
                f"no group has two images that show what it shares: of {sum(map(len, source.tags))} targets, made "
                f"of {source.origin}, {len(self.usable)} are not empty"
            )
        if bare:
            log.warning(
                "%d groups are not trained on: by %s fewer than two of their images show what they share: %s",
                len(bare),
                source.origin,
                ", ".join(source.names[group - 1] for group in bare),
            )
        return sorted(group for group, size in sizes.items() if size > 1)

    def choose(self, step: int) -> list[tuple[int, int]]:
        """(position, group) of a step's images, those of the first group first; the groups have equal numbers."""
        epoch, place = divmod(step, len(self.groups))
        group = self.groups[int(order_of_epoch(len(self.groups), self._config.seed, epoch)[place])]
        rng = seeded(self._config.seed, step, 3)
        partner = self._partner(group, rng) if self._pairs else None
        drawn = [self._draw(one, rng) for one in (group, partner) if one is not None]
        size = min(len(one) for one in drawn)
        return [pair for one in drawn for pair in one[:size]]

    def _partner(self, group: int, rng: np.random.Generator) -> int | None:
        hard = hard_negative(self._counts, group, self.groups)
        if hard is None or self._counts[group, hard]:
            return hard
        return int(rng.choice([one for one in self.groups if one != group]))

    def _draw(self, group: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        order = reference_order(self._source.tags, group, self._counts, rng)
        return [(p, group) for p in order if (p, group) in self.usable][: self._config.group_size]

    def _load(self, step: int) -> Arrays:
        chosen = self.choose(step)
        both = {group for _, group in chosen}
        images, rows = [], []
        for number, (position, group) in enumerate(chosen):
            rng = seeded(self._config.seed, step, number, 4)
            pixels, saliency, targets = self._decoded[position]
            others = both - {group}
            planes = np.stack(
                [
                    saliency,
                    self._target(position, group, targets),
                    *(self._target(position, o, targets) for o in others),
                ]
            )
            if not others:
                planes = np.concatenate([planes, np.full_like(planes[:1], IGNORE)])
            if rng.random() < 0.5:
                pixels, planes = pixels[:, ::-1], planes[:, :, ::-1]
            images.append(np.ascontiguousarray(jitter_colors(np.ascontiguousarray(pixels), self._config.jitter, rng)))
            rows.append(planes)
        saliency, own, other = np.stack(rows, axis=1)  # N of (3, S, S) -> (3, N, S, S)
        return Arrays(images, saliency, own, other, [group for _, group in chosen], [p for p, _ in chosen])

    def _target(self, position: int, group: int, targets: np.ndarray) -> np.ndarray:
        """What a group's consensus is to find in an image: its target; nothing, if the image is not of the group."""
        own = self._source.tags[position]
        plane: np.ndarray = targets[own.index(group)] if group in own else np.zeros_like(targets[0])
        return plane

    def batch(self, step: int, device: str, *, multi_label: bool) -> tuple[GroupBatch, torch.Tensor]:
        """A step as tensors, and the images' saliency (N, 1, S, S) in [0, 1].

        Args:
            step: from 0.
            device: where to.
            multi_label: classes as rows of 0 and 1 over all tags, instead of one number each.
        """
        arrays = self.prefetch(step)

        def plane(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values)[:, None].to(device)  # (N, S, S) -> (N, 1, S, S)

        own, other = plane(arrays.own), plane(arrays.other)
        numbers = [group - 1 for group in arrays.groups]
        classes = group_classes = torch.tensor(numbers, device=device)
        if multi_label:
            count = len(self._source.names)
            tags = [[float(n in self._source.tags[p]) for n in range(1, count + 1)] for p in arrays.positions]
            classes = torch.tensor(tags, device=device)
            group_classes = torch.nn.functional.one_hot(group_classes, count).float()
        split = arrays.groups.count(arrays.groups[0])
        batch = GroupBatch(
            to_batch(arrays.images, device),
            (own == 1).float(),
            own != IGNORE,
            (other == 1).float(),
            other != IGNORE,
            classes,
            group_classes,
            split,
        )
        return batch, plane(arrays.saliency).float() / 255
