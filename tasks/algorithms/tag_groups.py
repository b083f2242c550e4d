"""Groups of images from their tags: who speaks for a tag, and which tag is the hardest to distinguish from it.

An image that shows several tagged things says nothing certain about either, and where two tags often occur together
their groups are nearly the same.  So images with one tag speak first.  All functions are pure: what they return depends
on their arguments alone.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

log = logging.getLogger("tag2mask")

RARELY_ALONE = 0.1
"""Share of a tag's images in which it must be the only one, or its group is warned of."""


def members(tags: Sequence[Sequence[int]], tag: int) -> list[int]:
    """Positions of the images with a tag, in order."""
    return [position for position, own in enumerate(tags) if tag in own]


def cooccurrence(tags: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """How often tags occur together.

    Args:
        tags: class numbers 1..C of each image.
        classes: C.

    Returns:
        (C + 1, C + 1) counts; on the diagonal how often a tag occurs.  Row and column 0 are empty.
    """
    table = np.zeros((len(tags), classes + 1), np.int64)
    for row, own in enumerate(tags):
        table[row, list(own)] = 1
    counts: np.ndarray = table.T @ table
    return counts


def reference_order(tags: Sequence[Sequence[int]], tag: int, counts: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Members of a tag's group, the clearest first.

    Images with this tag alone come first, then those whose other tags least often occur with it (by their largest share
    of the tag's images); equal ones in random order.

    Args:
        tags: class numbers of each image.
        tag: the group's.
        counts: `cooccurrence` of the same images.
        rng: source of chance.

    Returns:
        Positions in `tags`.
    """
    group = members(tags, tag)
    shuffled = [group[position] for position in rng.permutation(len(group))]

    def unclear(position: int) -> float:
        return max((float(counts[tag, other]) for other in tags[position] if other != tag), default=0.0)

    alone = [position for position in shuffled if len(tags[position]) == 1]
    return alone + sorted((p for p in shuffled if len(tags[p]) > 1), key=unclear)  # sorting keeps the order of equals


def reference_sets(
    tags: Sequence[Sequence[int]], tag: int, *, references: int, regroupings: int, seed: int, counts: np.ndarray
) -> list[tuple[int, ...]]:
    """The images that speak for a tag, drawn several times.

    Args:
        tags: class numbers of each image.
        tag: the group's.
        references: most images in a set.
        regroupings: how often to draw.
        seed: of the draws.
        counts: `cooccurrence` of the same images.

    Returns:
        Different sets, each of rising positions in `tags`; one set where every draw gives the same, none where no image
        has the tag.
    """
    drawn = [
        tuple(sorted(reference_order(tags, tag, counts, np.random.default_rng((seed, tag, number)))[:references]))
        for number in range(regroupings)
    ]
    return [one for one in dict.fromkeys(drawn) if one]


def hard_negative(counts: np.ndarray, tag: int, allowed: Sequence[int]) -> int | None:
    """The tag that occurs most often with another one, the lowest number among equals.

    Args:
        counts: `cooccurrence`.
        tag: the other one.
        allowed: tags to choose from; `tag` itself is left out.

    Returns:
        None where nothing is left to choose.
    """
    others = [number for number in sorted(allowed) if number != tag]
    return max(others, key=lambda number: int(counts[tag, number]), default=None)


def alone_shares(tags: Sequence[Sequence[int]], classes: int) -> dict[int, float]:
    """Tag -> share of its images in which it is the only one; tags without an image are left out."""
    counts = cooccurrence(tags, classes)
    alone = {number: sum(tuple(own) == (number,) for own in tags) for number in range(1, classes + 1)}
    return {n: alone[n] / int(counts[n, n]) for n in range(1, classes + 1) if counts[n, n]}


def warn_of_tags_never_alone(tags: Sequence[Sequence[int]], names: Sequence[str]) -> Mapping[str, float]:
    """Log the tags whose groups are ambiguous: no images, or few, show them alone.

    Args:
        tags: class numbers of each image.
        names: of the classes 1..C.

    Returns:
        Share of single-tag images by name, for every tag that occurs.
    """
    shares = {names[number - 1]: share for number, share in alone_shares(tags, len(names)).items()}
    unclear = {name: share for name, share in shares.items() if share < RARELY_ALONE}
    if unclear:
        rare = ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in unclear.items())
        log.warning(
            "%d of %d tags have (next to) no image that shows them alone, so that their groups may agree on "
            "something else; add some with this tag alone: %s",
            len(unclear),
            len(shares),
            rare,
        )
    return shares
