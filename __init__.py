"""Tags in, masks out.  What a notebook needs of it; everything else is the command line, `tag2mask --help`.

    model = tag2mask.load_model("mine")                                  # a run, train_segmenter/KEY, or a folder
    prediction = model.predict("photo.jpg")                              # labels, shares, confidence, probabilities()
    release = tag2mask.read_release("artifacts/releases/mine/latest")    # images, labels, tags, classes
    dataset = tag2mask.ReleaseDataset(release)                           # for torch's DataLoader
    artifact = tag2mask.open_artifact("predict_masks/1f0c")              # path, manifest, files

What is heavy is imported by the first use of a name, so that `import tag2mask` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tag2mask.flows.using.predict import load_model
    from tag2mask.tasks.building.opening import open_artifact
    from tag2mask.tasks.exports.release_dataset import ReleaseDataset
    from tag2mask.tasks.exports.released_images import read_release

__all__ = ["ReleaseDataset", "load_model", "open_artifact", "read_release"]

_PLACES = {
    "ReleaseDataset": "tag2mask.tasks.exports.release_dataset",
    "load_model": "tag2mask.flows.using.predict",
    "open_artifact": "tag2mask.tasks.building.opening",
    "read_release": "tag2mask.tasks.exports.released_images",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'tag2mask' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
