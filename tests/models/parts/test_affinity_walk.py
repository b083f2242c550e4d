"""Class maps spread over cells that look alike."""

import pytest
import torch
from torch.nn import functional as F

from tag2mask.models.parts.affinity_walk import spread_by_affinity


def _two_objects() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of a left and a right half, and a map that sees one cell of the left; (1, 2, 4, 6) and (1, 1, 4, 6)."""
    left = torch.zeros(4, 6)
    left[:, :3] = 1
    seen = torch.zeros(1, 1, 4, 6)
    seen[0, 0, 1, 1] = 2.0
    return seen, torch.stack([left, 1 - left])[None], left


def test_a_part_spreads_over_what_looks_like_it() -> None:
    """One cell that is seen becomes the whole region of its features, and nothing of the region beside it."""
    seen, features, left = _two_objects()
    whole = spread_by_affinity(seen, features, power=2, steps=3, share=1)
    torch.testing.assert_close(whole[0, 0], left, atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_share_says_how_much_of_the_map_is_kept(share: float) -> None:
    """The result is the mean of the map and the spread one, each with its maximum at 1, by the share of the latter."""
    seen, features, left = _two_objects()
    mixed = spread_by_affinity(seen, features, power=2, steps=3, share=share)
    torch.testing.assert_close(mixed[0, 0], (1 - share) * seen[0, 0] / 2 + share * left, atol=1e-3, rtol=0)


def test_the_walk_is_that_of_a_slow_oracle() -> None:
    """For random maps and features the result is that of loops over cells, at a finer grid of the maps as well."""
    torch.manual_seed(0)
    maps, features = torch.rand(1, 2, 4, 4), torch.randn(1, 5, 2, 2)
    cells = [features[0, :, i // 2, i % 2] for i in range(4)]
    likeness = torch.tensor([[max(F.cosine_similarity(a, b, dim=0).item(), 0) ** 1.5 for b in cells] for a in cells])
    small = maps[0].unflatten(1, (2, 2)).unflatten(3, (2, 2)).mean((2, 4)).flatten(1)  # (2, 4, 4) -> (2, 2*2)
    for _ in range(2):
        small = torch.stack(
            [sum(likeness[i, j] / likeness[i].sum() * small[:, j] for j in range(4)) for i in range(4)], 1
        )
    spread = (small - small.amin(1, keepdim=True)).unflatten(1, (2, 2))
    finer = F.interpolate(spread[None], size=(4, 4), mode="bilinear")[0]
    expected = [maps[0, k] / maps[0, k].max() / 2 + finer[k] / finer[k].max() / 2 for k in range(2)]
    found = spread_by_affinity(maps, features, power=1.5, steps=2, share=0.5)
    torch.testing.assert_close(found[0], torch.stack(expected), atol=1e-4, rtol=0)


def test_a_map_of_zeros_stays_so() -> None:
    """No evidence of a class spreads to no evidence, and images do not see each other's features."""
    seen, features, _ = _two_objects()
    both = spread_by_affinity(
        torch.cat([torch.zeros_like(seen), seen]), features.repeat(2, 1, 1, 1), power=2, steps=1, share=0.5
    )
    assert both[0].max() == 0 and both[1].max() > 0.9
    torch.testing.assert_close(both[1:], spread_by_affinity(seen, features, power=2, steps=1, share=0.5))
