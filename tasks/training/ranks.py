"""What a process of a training does where several share its batches, one for each device.

Every rank loads the whole batch, applies the network to its part of it, and gathers what the others' parts gave: losses
and accumulated attention are then of the whole batch, by the very functions that one process uses, and equal on every
rank but for the order of sums.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tag2mask.configs.errors import UserError
from tag2mask.models.parts.batch_norm import FrozenBatchNorm2d


class NotShared(UserError, ValueError):
    """A network cannot be trained on several devices; the message says what to change."""


def count() -> int:
    """Processes that share the training; 1 where there is no group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Go on when every rank has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def shared(network: nn.Module) -> Callable[[Tensor], Any]:
    """What applies a network to a batch (N, ...): the network itself, or all ranks, each to its part.

    The results, tensors or lists and tuples of tensors whose first dimension is N, are those of the whole batch.  Batch
    norms that are not frozen take the statistics of the whole batch.  Ask for it when it is settled what is trained.
    """
    if count() == 1:
        return network
    synchronize_batch_norm(network)
    norms = [module for module in network.modules() if isinstance(module, SynchronizedBatchNorm2d)]
    parallel = DistributedDataParallel(network, find_unused_parameters=True)

    def apply(inputs: Tensor) -> Any:
        sizes = part_sizes(len(inputs), count())
        for norm in norms:
            norm.sees_all = min(sizes) == 0
        if min(sizes) == 0:  # fewer images than ranks: each computes them all, to the same gradient
            return parallel(inputs)
        start = sum(sizes[: distributed.get_rank()])
        return _gathered(parallel(inputs[start : start + sizes[distributed.get_rank()]]), sizes)

    return apply


def part_sizes(images: int, ranks: int) -> list[int]:
    """How many of a batch's images each rank takes, in order."""
    return [images // ranks + (rank < images % ranks) for rank in range(ranks)]


def _gathered(outputs: Any, sizes: list[int]) -> Any:
    if isinstance(outputs, Tensor):
        return _Gather.apply(outputs, sizes)
    parts = [_gathered(output, sizes) for output in outputs]
    return type(outputs)(*parts) if hasattr(outputs, "_fields") else type(outputs)(parts)


class _Gather(torch.autograd.Function):
    """The parts of all ranks behind each other.

    Every rank computes the same loss of the whole, so that the gradient of its own part is here already; times the
    number of ranks, since `DistributedDataParallel` takes the mean of their gradients where the sum is wanted.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = part.new_zeros((max(sizes), *part.shape[1:]))
        padded[: len(part)] = part
        found = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(found, padded)
        return torch.cat([one[:size] for one, size in zip(found, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rank = distributed.get_rank()
        start = sum(ctx.sizes[:rank])
        return gradient[start : start + ctx.sizes[rank]] * len(ctx.sizes), None


class _SumOfRanks(torch.autograd.Function):
    """The sum of a tensor over the ranks; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        whole = own.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        whole = gradient.contiguous().clone()
        distributed.all_reduce(whole)
        return whole


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization by the statistics of all ranks' images; torch's own is for GPUs alone."""

    sees_all = False
    """Whether the input is the whole batch on every rank, which counted together would be several."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `input` (N, C, H, W)."""
        if not self.training or self.sees_all:
            return super().forward(input)
        values = input.float()
        own = torch.cat([values.sum((0, 2, 3)), values.new_tensor([values.numel() / values.shape[1]])])
        sums: Tensor = _SumOfRanks.apply(own)
        total = sums[-1].detach()
        mean = sums[:-1] / total
        deviations = (values - mean[:, None, None]).square().sum((0, 2, 3))  # not E[x²] - E[x]², which cancels
        variance: Tensor = _SumOfRanks.apply(deviations) / total
        self._learn(mean.detach(), (variance * total / (total - 1).clamp_min(1)).detach())
        normalized = (values - mean[:, None, None]) * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normalized = normalized * self.weight[:, None, None] + self.bias[:, None, None]
        result: Tensor = normalized.to(input.dtype)
        return result

    @torch.no_grad()
    def _learn(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def synchronize_batch_norm(network: nn.Module) -> int:
    """Let every batch norm of a network that is not frozen see all ranks' images; how many there are.

    Raises:
        NotShared: one carries an activation, or has no running statistics.
    """
    found = 0
    for module in network.modules():
        if not isinstance(module, nn.BatchNorm2d) or isinstance(module, FrozenBatchNorm2d):
            continue
        if type(module) not in (nn.BatchNorm2d, SynchronizedBatchNorm2d) or not module.track_running_stats:
            raise NotShared(
                f"devices: this network's {type(module).__name__} cannot see several devices' images: set --devices 1, "
                "or freeze_batch_norm: true of its backbone"
            )
        module.__class__ = SynchronizedBatchNorm2d
        found += 1
    return found
