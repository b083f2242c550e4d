"""Artifacts by their labels, for people."""

from pathlib import Path

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.store import MANIFEST, Store


class NoSuchArtifact(UserError, ValueError):
    """No artifact has that name; the message says what there is."""


def open_artifact(label: str, root: Path | str = "artifacts") -> Artifact:
    """An artifact by its label.

    Args:
        label: `stage/key`; the key may be cut short.
        root: folder of the store.

    Raises:
        NoStore: the folder is not there.
        NoSuchArtifact: none has that label, or several begin so; the message names them.
        DamagedArtifact: it is not what its manifest says.
    """
    store = Store.existing(Path(root))
    stage, _, key = label.partition("/")
    names = [path.name for path in sorted((store.root / stage).glob("*")) if (path / MANIFEST).is_file()]
    keys = [key] if key in names else [name for name in names if key and name.startswith(key)]
    if len(keys) != 1:
        several = f"{len(keys)} artifacts begin so ({', '.join(keys)}); write more of the key"
        raise NoSuchArtifact(f"{label}: {several if keys else f'no such artifact in {root}; `tag2mask ls` lists them'}")
    artifact = store.find(stage, keys[0])
    if artifact is None:
        raise NoSuchArtifact(f"{label}: was removed a moment ago; `tag2mask ls` lists what there is")
    return artifact
