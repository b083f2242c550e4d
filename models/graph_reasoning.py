"""Global reasoning on a graph of regions (Chen et al. 2019, "Graph-Based Global Reasoning Networks"), as NSROM uses it.

Unlike the paper, as in NSROM: the channels are reduced to `states` before the projection, a ReLU stands between node
mixing and state mixing, and the node convolution has a bias.  The sign of (I - A) is absorbed by the learned weights.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F


class GraphReasoning(nn.Module):
    """Project positions to graph nodes, let the nodes exchange messages, project back, add to the input.

    The projection B depends on the input, is not normalized, and serves both ways (D = B^T).

    (N, C, H, W) -> (N, C, H, W), any H and W.

    Args:
        channels: C.
        nodes: number of graph nodes, K below.
        states: length of a node's state, S below.
        normalize: divide the node states by the number of positions, so that one set of weights serves any image size.
            NSROM does not: its weights belong to maps of the size trained on.
        blocker_init: scale with which the last batch norm starts: "one" as NSROM; "zero" makes the unit start as the
            identity, as the paper's authors advise.
    """

    def __init__(
        self,
        channels: int,
        *,
        nodes: int = 64,
        states: int = 128,
        normalize: bool = False,
        blocker_init: Literal["one", "zero"] = "one",
    ) -> None:
        super().__init__()
        if blocker_init not in ("one", "zero"):
            raise ValueError(f"blocker_init must be 'one' or 'zero', got {blocker_init!r}")
        self.channels, self.normalize = channels, normalize
        self.to_states = nn.Conv2d(channels, states, 1)
        self.to_nodes = nn.Conv2d(channels, nodes, 1)
        self.mix_nodes = nn.Conv1d(nodes, nodes, 1)
        self.mix_states = nn.Conv1d(states, states, 1, bias=False)
        self.extend = nn.Conv2d(states, channels, 1, bias=False)
        self.blocker = nn.BatchNorm2d(channels, eps=1e-4)
        if blocker_init == "zero":
            nn.init.zeros_(self.blocker.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Reason over `features` (N, C, H, W); returns the same shape."""
        states = self.to_states(features).flatten(2)  # (N, S, H, W) -> (N, S, HW)
        projection = self.to_nodes(features).flatten(2)  # (N, K, H, W) -> (N, K, HW)
        graph = states @ projection.mT  # V = X B^T: (N, S, HW) @ (N, HW, K) -> (N, S, K)
        if self.normalize:
            graph = graph / projection.shape[2]
        mixed = self.mix_nodes(graph.mT).mT + graph  # (I - A) V, along the node axis
        reasoned = self.mix_states(F.relu(mixed))  # Z = (...) W, along the state axis: (N, S, K)
        back = reasoned @ projection  # Y = Z B: (N, S, K) @ (N, K, HW) -> (N, S, HW)
        back = back.unflatten(2, features.shape[2:])  # (N, S, HW) -> (N, S, H, W)
        mended: Tensor = features + self.blocker(self.extend(back))
        return mended
