"""The first step: a settings file for a folder of images."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tag2mask.configs
from tag2mask.configs.document import commented_yaml, relative
from tag2mask.configs.home_folder import expanded
from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.schema import Config, Dataset
from tag2mask.configs.sections.data import FOLDER_FORMATS
from tag2mask.configs.sections.networks import NO_FILE
from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.store.digests import json_digest, names_in
from tag2mask.tasks.tags.finding import FoundTags, find_tags
from tag2mask.tasks.tags.formats import BY_NAME
from tag2mask.tasks.tags.listing import Given, list_dataset
from tag2mask.tasks.tags.readers.folders import images_below

SPLITS = ("ImageSets/Segmentation/{}.txt", "{}.txt")
PLACES = ("train_split", "val_split", "test_split", "tag_names")
"""Settings of the dataset that name a file."""
BACKBONE = "tf_efficientnet_lite0"
"""Of all networks, unless the weights that are given belong to another."""
PRIOR_CHOSEN = """\
# Saliency needs no masks here: it is robust background detection (saliency.provider: prior, section prior), computed
# from each image alone.  Instead:
#   saliency.provider: reciprocal and saliency.targets: prior
#       a network is trained on the pixels of these images where the prior and the class activation maps agree (section
#       self_training): better saliency, and labels that were no better, for most of a run's time
#   saliency.provider: reciprocal and saliency_set   images with masks of salient objects, of any kind
#   saliency.checkpoint                              a model that was trained before
#   saliency.provider: folder and saliency.maps      ready maps
# For masks or maps rather run `tag2mask init` again (--saliency-images and --saliency-masks, or --saliency-maps):
# they deserve more say (cam_refinement, release), and an attention model that learns from them.
"""
"""Comment above settings that do without masks."""

OF_PRIOR: dict[str, dict[str, Any]] = {
    "attention": {"saliency_weight": 0},
    "cam_refinement": {"attention": False, "saliency_weight": 0.5, "background": 0.11},
    "release": {"minimum_saliency_agreement": None},
}
"""Section -> settings: what docs/results.md measured without masks.  More weight gains little; class maps that learn
from the prior lose; and good labels agree with it too little (0.39) for the gate to judge them by it."""


@dataclass(frozen=True)
class Sources:
    """What a person has."""

    images: Path
    """Folder of images."""
    tags: Path | None = None
    """File or folder of tags; None: looked for beside or in the folder of images."""
    tag_names: Path | None = None
    """Names of the classes, where the tags are numbers; None: looked for beside the tags."""
    masks: Path | None = None
    """Ground-truth masks to measure with."""
    saliency_images: Path | None = None
    saliency_masks: Path | None = None
    saliency_maps: Path | None = None
    weights: str = "packaged"
    """ImageNet weights of all backbones: EfficientNet-Lite0's (`packaged`, or `timm`, which fetches them), or
    MobileNetV2's (`torchvision`, which fetches them, or a file)."""


def write_settings(sources: Sources, out: Path) -> str:
    """Write a commented settings file that runs.

    Returns:
        What was found, and how to go on, to be shown.

    Raises:
        ConfigError: a folder or table is missing, sources of saliency exclude each other, or `out` exists already.
        BadTable: the tag table is wrong.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; give another name with --out")
    folder, found = _folder_of_images(sources)
    sources = replace(sources, images=folder)
    dataset, tags = _dataset(sources, found)
    values = _networks(sources.weights) | {"name": _run_name(out), "dataset": dataset.model_dump(exclude_none=True)}
    image_ids = _image_ids(sources, dataset)
    notes = [*_set_saliency(values, sources, out), *_set_first_round(values, tags, image_ids)]
    if (backbone := backbone_for(sources.weights)["name"]) != BACKBONE:
        notes.append(f"all networks stand on {backbone}; docs/results.md measured these settings on {BACKBONE}")
    if dataset.val_split is None:  # no images are kept aside on which rounds could be compared
        values["deliver"] = "last"
    config = Config.model_validate(values)
    chosen = f"{PRIOR_CHOSEN}\n" if config.saliency.provider == "prior" else ""
    head = f"# Run it with: tag2mask run {out.name}\n\n{chosen}"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(head + commented_yaml(config, out.absolute().parent), encoding="utf-8")
    return "\n".join(
        [f"wrote {out}", *_counts(image_ids, dataset, tags), *notes, *_next(load_config(out).dataset, out)]
    )


def _folder_of_images(sources: Sources) -> tuple[Path, FoundTags | None]:
    """The folder that was given; where that has no images and a file of tags, the one folder in it that has images.

    Returns:
        The folder, and its tags where they were read to find out.

    Raises:
        ConfigError: there is no such folder.
    """
    folder = _absolute(sources.images)
    if not folder.is_dir():
        raise ConfigError(f"{sources.images}: no such folder; give the folder of the images")
    if _images_in(folder):
        return folder, None
    inside = [path for path in folder.glob("[!.]*") if path.is_dir() and _images_in(path)]
    found = _find_tags(sources, inside[0]) if len(inside) == 1 else None
    if found is None or found.format in FOLDER_FORMATS:
        return folder, None
    return inside[0], found


def _find_tags(sources: Sources, images: Path) -> FoundTags | None:
    """The tags of a folder of images: those that were given, or those found beside or in it."""
    return find_tags(images, None if sources.tags is None else _existing(sources.tags), sources.tag_names)


def _images_in(folder: Path) -> set[str]:
    """Ids of the images that lie in a folder itself."""
    return {Path(name).stem for name in names_in(folder, IMAGE_SUFFIXES)}


def _dataset(sources: Sources, found: FoundTags | None) -> tuple[Dataset, FoundTags]:
    """The dataset as far as it can be found, and its tags: `found`, or read here."""
    images = sources.images
    root = images.parent
    tags = found or _find_tags(sources, images)
    if tags is None:
        if not _images_in(images):
            raise ConfigError(f"{images}: no image there; an image ends in {', '.join(IMAGE_SUFFIXES)}")
        raise ConfigError(f"{root}: no labels.csv there; name the table of image_id,labels with --tags")
    pairs = [(pattern.format("train"), pattern.format("val")) for pattern in SPLITS]
    there = [[name if (root / name).is_file() else None for name in pair] for pair in pairs]
    train, val = next((pair for pair in there if any(pair)), (None, None))
    masks = None if sources.masks is None else relative(_existing(sources.masks), root)
    values: dict[str, Any] = {
        "root": root,
        "images": images.name,
        "tags": relative(tags.path, root),
        "tags_format": tags.format,
        "tag_names": None if tags.names is None else relative(_existing(tags.names), root),
        "masks": masks,
    }
    return Dataset(**values, train_split=train, val_split=val), tags


def _set_saliency(values: dict[str, Any], sources: Sources, out: Path) -> list[str]:
    """Write where the saliency maps come from into the values; what to say about it."""
    given = [name for name in ("images", "masks", "maps") if getattr(sources, f"saliency_{name}") is not None]
    values.pop("saliency_set", None)
    if not given:
        values["saliency"] |= {"provider": "prior"}
        for section, changes in OF_PRIOR.items():
            values[section] |= changes
        return ["saliency needs no masks: it will be computed from each image alone (robust background detection)"]
    if sources.saliency_maps is not None:
        if len(given) > 1:
            raise ConfigError(
                f"--saliency-maps are ready: --saliency-{given[0]} would not be read; leave one of them out"
            )
        values["saliency"] |= {"provider": "folder", "maps": _existing(sources.saliency_maps)}
        return []
    if sources.saliency_images is None or sources.saliency_masks is None:
        raise ConfigError("--saliency-images and --saliency-masks belong together; give both")
    images, masks = _existing(sources.saliency_images), _existing(sources.saliency_masks)
    root = Path(os.path.commonpath([images, masks]))
    names = {"images": os.path.relpath(images, root), "masks": os.path.relpath(masks, root)}
    values["saliency_set"] = {"root": root, **names}
    return [
        "say in saliency_set what its masks show (about, shows_target_classes): said later, it trains saliency anew"
    ]


def _set_first_round(values: dict[str, Any], found: FoundTags, images: set[str]) -> list[str]:
    """Let all images teach the first round where most have several tags; what to say about it.

    Labels 0 then count for less in labels 1, as docs/results.md measured it.  That half of the images are enough is a
    guess: 72 % of those that the setting was measured on have one tag.
    """
    counts = [len(names) for image_id, names in found.read.tags.items() if image_id in images]
    simple = sum(count == 1 for count in counts)
    if 2 * simple >= len(counts):
        return []
    values["segmenter"]["first_round_tags"] = None
    values["fusion"]["trust"] = 0.7
    return [f"{simple} of {len(counts)} images have a single tag: the first round learns from all (first_round_tags)"]


def backbone_for(weights: str) -> dict[str, str]:
    """Name and weights of the backbone that goes with the weights of `Sources`."""
    name = BACKBONE if weights in ("packaged", "timm") else "mobilenet_v2"
    return {"name": name, "weights": weights if weights in NO_FILE else str(_existing(Path(weights)))}


def _networks(weights: str) -> dict[str, Any]:
    """Settings sized for two cores: those of voc-mini, with another backbone where the weights ask for it.

    Raises:
        ConfigError: the weights are a file that does not exist, or none.
    """
    if weights == "none":
        raise ConfigError(
            "--weights none: random weights learn next to nothing from a few hundred images; leave the option out for "
            "weights that are installed already"
        )
    values = load_config(packaged("voc-mini.yaml")).model_dump()
    for section in ("classifier", "attention", "saliency", "cosaliency", "segmenter"):
        values[section]["backbone"] |= backbone_for(weights)
    return values


def _counts(images: set[str], dataset: Dataset, found: FoundTags) -> list[str]:
    """What was found, a line each."""
    tags = found.read.tags
    classes = Counter(name for image_id in tags.keys() & images for name in tags[image_id])
    named = ", ".join(f"{name} {count}" for name, count in sorted(classes.items()))
    lines = [
        f"{len(images)} images, {len(tags.keys() & images)} of them tagged",
        f"{len(classes)} classes: {named}",
    ]
    alike = Counter(name.casefold() for name in classes)
    if names := sorted(name for name in classes if alike[name.casefold()] > 1):
        lines.append(
            f"{' and '.join(names)} differ in case alone, and are classes of their own: one name for each class"
        )
    if missing := sorted(tags.keys() - images):
        lines.append(f"{len(missing)} tagged ids have no image: {', '.join(missing[:5])}")
    if untagged := sorted(images.intersection(found.read.untagged)):
        lines.append(f"{len(untagged)} images are listed without a tag: {', '.join(untagged[:5])}")
    found_tags = f"tags: {BY_NAME[found.format].title}, {relative(found.path, dataset.root)}"
    also = [f"not read: {relative(path, dataset.root)}" for path in found.others]
    return [*lines, found_tags, *found.read.notes, *also]


def _image_ids(sources: Sources, dataset: Dataset) -> set[str]:
    """Ids of the images."""
    if dataset.tags_are_folders:
        return set(images_below(sources.images, dataset.tags_format == "folder_paths"))
    return _images_in(sources.images)


def _next(dataset: Dataset, out: Path) -> list[str]:
    """What to do next: what keeps the dataset from being indexed, or the command that runs it."""
    from tag2mask.tasks.index_dataset import check_classes, class_names

    def place(path: str | None) -> Path | None:
        return None if path is None else dataset.root / path

    images = dataset.root / dataset.images
    tags = place(dataset.tags) or images
    given: dict[str, Path | None] = (
        {"image_tree": images} if dataset.tags_are_folders else {"images": images, "tags": tags}
    )
    try:
        given |= {name: place(getattr(dataset, name)) for name in PLACES}
        listing = list_dataset(Given(**given), dataset.tags_format)
        classes = class_names(listing.tags, dataset.classes, tags)
        check_classes(listing, classes, dataset.minimum_images, listing.tags, tags)
    except ValueError as error:
        return [f"it does not run yet: {error}", f"next: mend that, then tag2mask run {out}"]
    return [f"next: tag2mask run {out}"]


def _absolute(path: Path) -> Path:
    """A path from the root on; through links only where `..` asks where they lead."""
    path = expanded(path).absolute()
    return path.resolve() if ".." in path.parts else path


def _existing(path: Path) -> Path:
    path = _absolute(path)
    if not path.exists():
        raise ConfigError(f"{path} does not exist")
    return path


def _run_name(out: Path) -> str:
    name = "".join(c if c.isalnum() and c.isascii() or c in "._-" else "-" for c in out.stem).lstrip("._-")
    lost = any(c.isalnum() and not c.isascii() for c in out.stem)  # names in other scripts stay apart
    return f"{name or 'run'}{f'-{json_digest(out.stem)[:6]}' if lost else ''}"


def packaged(name: str) -> Path:
    """A settings file that is installed with the package."""
    return Path(next(iter(tag2mask.configs.__path__))) / name
