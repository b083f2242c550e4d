"""What there is to know of a stage: the fields of a record of the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PictureKind = Literal["heat", "gray", "gray by class", "labels"]
"""How a file is shown: class maps as heat, 8-bit gray (a map a class in `gray by class`), labels."""

TAG_SUFFIXES = (".xml", ".json", ".jsonl", ".csv", ".txt", ".names", ".yaml", ".yml")
"""Of the files that readers of tags look at in a folder."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Stage:
    """What there is to know of a stage."""

    name: str
    """Of its file in `tasks`, and of the folder of its artifacts."""
    version: int
    """Raised by hand when the mathematics changes, so that artifacts made before are rebuilt."""
    section: str
    """Section of the settings that it reads."""
    title: str
    """What people read for its result in tables and galleries; `train_…` and `index_…` stages are not shown."""
    does: str
    """What it does, in a line."""
    writes: str
    """The files of its result, in a line."""
    all_cores: bool = False
    """Whether it gets all cores in every run.  The DAG decides for the others: half of them, so that branches run side
    by side, or all where there is no other branch."""
    dataset_level: bool = False
    """Whether an image's part of the result depends on the other images too, so that nothing of it is reused for a
    dataset to which images were added."""
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Raw folder among its inputs -> suffixes of the files right in it; nothing else is read there."""
    image_inputs: tuple[str, ...] | None = None
    """Inputs that an image's own part of the result depends on; None: all.  What else it reads enters the tables of the
    whole result alone."""
    picture: PictureKind | None = None
    """How the result of one image is shown."""
    file: str = "{}.png"
    """Where the result of an image lies, `{}` being its id (for `gray by class`, `<class number>/<id>`)."""
    labels: bool = False
    """Whether it makes label maps that releases, exports and comparisons can take."""
    saliency: bool = False
    """Whether it makes saliency maps, so that masks may be behind them."""
    spread: bool = False
    """Whether its images are handed to the run's executor."""
    trains: bool = False
    """Whether it trains a network: such stages of several runs share a slot, and their results can be kept."""

    shares_batches: bool = False
    """Whether several devices can share the batches of its training."""

    @property
    def folder(self) -> str:
        """Folder of the images' files in its artifact, `.` for the artifact itself."""
        return self.file.rpartition("/")[0] or "."
