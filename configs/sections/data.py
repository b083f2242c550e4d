"""The images, their tags, and the sets that networks are trained on."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tag2mask.configs.sections.section import ByContent, Section


def _spelt_out(value: Any) -> Any:
    """YAML reads a bare yes or no as a truth value."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def fault_of_class(name: str) -> str:
    """Why a name cannot be a class's; "" where it can."""
    if name.casefold() == "background":
        return f"{name!r} is the name of number 0 in every label"
    if not name.isprintable():
        return f"{name!r} has characters that cannot be printed"
    if len(name.split()) != 1 or name.split() != [name]:
        return f"{name!r} is not one word"
    return f"{name!r:.40}… is longer than {LONGEST_CLASS} characters" if len(name) > LONGEST_CLASS else ""


LONGEST_CLASS = 100
"""Characters of a class's name: it stands in tables, pages and names of files."""


def _fit_for_classes(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Refuse a list in which two classes have one name, or one has none that it may have."""
    if names is None:
        return None
    faults = [fault for name in names if (fault := fault_of_class(name))]
    faults += [f"{name!r} stands there more than once" for name in dict.fromkeys(names) if names.count(name) > 1]
    if faults:
        raise ValueError(f"{'; '.join(faults[:3])}; every class needs a name of its own, in one word")
    return names


TagsFormat = Literal[
    "auto",
    "csv",
    "voc",
    "coco",
    "yolo",
    "labelme",
    "label_studio",
    "cvat",
    "hugging_face",
    "folders",
    "folder_paths",
]
FOLDER_FORMATS = frozenset({"folders", "folder_paths"})
"""Formats in which the tags are the names of the folders that the images lie in."""
NUMBERED_FORMATS = frozenset({"auto", "yolo", "hugging_face"})
"""Formats that may give classes by number."""

Answer = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(_spelt_out)]


BELOW_ROOT = ByContent(below="root")
"""Mark of a file or folder of a set, whose relative path starts at its `root`."""


class Dataset(Section):
    """The images, their tags and, for evaluation only, their masks.  Relative paths start at `root`."""

    root: Annotated[Path, ByContent()]
    """Folder of the dataset.  In a settings file a relative path starts at the file's own folder."""
    images: Annotated[str, BELOW_ROOT] = "images"
    """Folder of the images, `<id>.jpg|jpeg|png|webp|bmp|tif|tiff`, not searched below its first level, unless
    `tags_format` is `folders` or `folder_paths`."""
    tags: Annotated[str | None, BELOW_ROOT] = "labels.csv"
    """Table with the columns `image_id,labels` (labels separated by blanks), or a file or folder of another format
    (docs/formats.md).  `null`: the images have no tags, and saliency maps are all that is made."""
    tags_format: TagsFormat = "auto"
    """Format of `tags`; `auto` recognizes it.  `folders`: a folder per class, or several in a tree, where `tags` and
    `images` are the same folder and ids are names without folder; `folder_paths`: ids have the folders before them."""
    tag_names: Annotated[str | None, BELOW_ROOT] = None
    """File with the names of the classes, for tags that give them by number: YOLO's `data.yaml` or `classes.txt`, the
    `README.md` of a Hugging Face dataset."""
    train_split: Annotated[str | None, BELOW_ROOT] = None
    """Text file of ids, one a line: the images to train on and to label.  Without it: all, and each needs a tag, or
    `on_bad_image: skip`; images without tags are labeled afterwards by `tag2mask predict`.  A 1, -1 or 0 after an id,
    as in VOC's lists per class, changes nothing: all the ids count."""
    val_split: Annotated[str | None, BELOW_ROOT] = None
    """Text file of ids kept apart: the segmenter is evaluated on them.  Without it: none."""
    test_split: Annotated[str | None, BELOW_ROOT] = None
    """Text file of ids without tags and masks, as of VOC's test set: the delivered segmenter predicts them, and
    `tag2mask submission` hands the predictions over.  Nothing trains or is measured on them.  Without it: none."""
    masks: Annotated[str | None, BELOW_ROOT] = None
    """Folder of ground-truth `<id>.png` (0 background, 1..C class, 255 void).  Read by evaluation, and by the
    report, which shows them; by nothing else."""
    corrections: Annotated[str | None, BELOW_ROOT] = None
    """Folder of masks that people corrected, as `tag2mask corrections` writes it: they stand for their images in every
    round, and these images are not measured.  Without it: none."""
    classes: Annotated[tuple[str, ...] | None, AfterValidator(_fit_for_classes)] = None
    """Class names in the order of their numbers 1..C.  Without it: the tags that occur, in alphabetical order."""
    minimum_images: int = Field(default=2, ge=1)
    """Training images a class needs at least; one image cannot teach a class apart from its background."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What an unreadable image, or one without a tag, does: end the run, or be set aside and listed while the rest
    goes on."""
    maximum_megapixels: float = Field(default=100.0, gt=0, le=178)
    """Images above this many megapixels (by their header, before decoding) count as bad: a decompression bomb."""

    @property
    def tags_are_folders(self) -> bool:
        """Whether the names of the images' folders are their tags."""
        return self.tags_format in FOLDER_FORMATS

    @model_validator(mode="after")
    def _tags_can_be_read(self) -> Self:
        if self.tags_are_folders and self.tags != self.images:
            raise ValueError(
                f"tags_format {self.tags_format!r} takes the names of the images' folders, so tags must be the folder "
                f"of the images: write tags: {self.images!r}"
            )
        if self.tag_names is not None and self.tags_format not in NUMBERED_FORMATS:
            raise ValueError(f"tag_names is not read by tags_format {self.tags_format!r}: delete it")
        return self


class SaliencySet(Section):
    """Images with masks of their salient objects, of any kind: what the saliency network is trained on."""

    root: Annotated[Path, ByContent()]
    """Folder of the set.  In a settings file a relative path starts at the file's own folder."""
    images: Annotated[str, BELOW_ROOT] = "images"
    """Folder of the images below `root`."""
    masks: Annotated[str, BELOW_ROOT] = "masks"
    """Folder of the masks `<id>.png` below `root`, 8-bit, above 127 = salient."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What an unreadable image or mask does."""
    maximum_megapixels: float = Field(default=100.0, gt=0, le=178)
    """Images above this many megapixels count as bad."""
    about: str = ""
    """Which masks these are, in words: every model and map made with them carries it, and the report prints it.

    It belongs to the key of what is trained on the set, as does `shows_target_classes`: a model folder that said
    something else than the settings would be worse than a training done twice.  Fill in both before training."""
    shows_target_classes: Answer = "unknown"
    """Whether the masks show objects of the classes that the tags name."""
