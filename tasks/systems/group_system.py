"""What the stages need to know of a group system: the fields of a record, and what its network can do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from tag2mask.configs.schema import Cosaliency
from tag2mask.models.backbones import Backbone
from tag2mask.models.cosaliency.group_collaboration import GroupBatch

Consensus = list[Tensor]
"""What a group passes on to each of its images."""
Network = TypeVar("Network", bound=nn.Module)


class GroupNetwork(Protocol):
    """What the networks of all group systems have in common; each reads its own encoding alone."""

    def encode(self, images: Tensor) -> Any:
        """Features of (N, 3, S, S)."""

    def describe(self, encoded: Any, saliency: Tensor, /) -> list[Tensor]:
        """What these images contribute to their group."""

    def consensus(self, descriptions: list[Tensor]) -> Consensus:
        """What the group passes on to each image."""

    def maps(
        self, encoded: Any, saliency: Tensor, consensus: Consensus, size: tuple[int, ...], /
    ) -> tuple[Tensor, Tensor]:
        """Soft and hard map."""


@dataclass(frozen=True)
class GroupSystem(Generic[Network]):
    """How a group system is built and trained; its network, a `GroupNetwork`, predicts.

    Whether it reads single-image saliency is said by the settings (`READING_SALIENCY`), which the DAG is made of.
    """

    build: Callable[[Cosaliency, Backbone], Network]
    """The network on a backbone, without pre-trained weights; it calls the backbone `backbone`."""
    two_groups: bool
    """Whether a step of its training takes a second group to contrast the first one with."""
    training_parts: Callable[[Network, int], Mapping[str, nn.Module]]
    """What its training alone needs beside the network, for a number of groups."""
    loss: Callable[[Cosaliency, nn.ModuleDict, GroupBatch, Tensor], Tensor]
    """Of the parts and the `network` among them, a batch, and its saliency (N, 1, S, S) in [0, 1]."""
