"""The table of all saliency systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tag2mask.configs.schema import Config

FIGURES = {"mae": "MAE ↓", "s_measure": "S ↑", "max_f": "max F ↑", "max_e": "max E ↑"}
PARTS = {
    "single": "{images} held-out images of the saliency set; networks trained on the masks of the others, "
    "or, each image a group by itself, on the tags of other images without masks",
    "groups": "validation images, one map per image and tag; trained without masks on training images",
}
TIMING = (
    "s / image: median on one core, from the file to maps of its size; in groups once its tags' consensus is known."
)


@dataclass(frozen=True)
class Row:
    """One system on one kind of images."""

    part: str
    """`single`: held-out images of the saliency set; `groups`: maps by tag of validation images."""
    system: str
    figures: Mapping[str, float]
    """All of the evaluation's summary."""
    seconds: float | None
    """Median time of an image on one core; None where the system is another one's maps."""
    parameters: int
    training_seconds: float
    """Of the last attempt, if the training was interrupted."""


def budget(config: Config) -> dict[str, int]:
    """Steps, images a step and their side, the same for every network."""
    saliency = config.saliency
    return {"iterations": saliency.iterations, "batch_size": saliency.batch_size, "image_size": saliency.image_size}


def markdown(rows: Sequence[Row], config: Config, held_out: int) -> str:
    """One table a part, below a line that says what was measured."""
    given, backbone = budget(config), config.saliency.backbone.name
    lines = [f"{backbone}, {given['iterations']} steps of {given['batch_size']} images at {given['image_size']} pixels"]
    for part, about in PARTS.items():
        columns = ("system", *FIGURES.values(), "s / image", "parameters")
        lines += [
            "",
            about.format(images=held_out) + ":",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
        ]
        lines += [_line(row) for row in rows if row.part == part]
    return "\n".join([*lines, "", TIMING]) + "\n"


def _line(row: Row) -> str:
    figures = [f"{row.figures[name]:.3f}".lstrip("0") if row.figures[name] < 1 else "1.000" for name in FIGURES]
    seconds = "–" if row.seconds is None else f"{row.seconds:.3f}"
    parameters = f"{row.parameters / 1e6:.2f} M" if row.parameters else "–"
    return f"| {' | '.join((row.system, *figures, seconds, parameters))} |"
