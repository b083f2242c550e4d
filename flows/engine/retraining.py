"""Whether a run trains anew, or keeps the models of the last run; and what became of the images since.

An image that is added changes what every training reads, and so its key.  With `never` the recorded model stands in
for the one that would be trained, and what is inferred from it is made for the new images alone.  The model keeps
its own name and manifest, which say what it was trained on.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tag2mask.flows.dag.delivery import DATASET
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.record import RunRecord, records
from tag2mask.tasks.building.image_keys import joined
from tag2mask.tasks.store.store import Artifact, DamagedArtifact, Store

Retrain = Literal["never", "when_changed", "always"]
"""`never`: keep the models of the last run; `when_changed`: train where data or settings changed; `always`: anew."""


def kept_models(nodes: Iterable[Node], store: Store, name: str) -> dict[str, Artifact]:
    """Training node -> the newest recorded model of it that is sound.

    Args:
        nodes: the nodes of the run.
        store: the store.
        name: the configuration's name.
    """
    kept: dict[str, Artifact] = {}
    past = list(reversed(records(store.root, name)))
    for node in nodes:
        if node.trains:
            found = (_sound(store, record.labels.get(node.name)) for record in past)
            model = next((artifact for artifact in found if artifact is not None), None)
            if model is not None:
                kept[node.name] = model
    return kept


def models_kept_in(record: RunRecord, nodes: Iterable[Node], store: Store) -> dict[str, Artifact]:
    """Training node -> the older model that stood in for it in a run, where it is sound."""
    names = [node.name for node in nodes if record.nodes.get(node.name, {}).get("state") == "kept"]
    found = {name: _sound(store, record.labels[name]) for name in names}
    return {name: artifact for name, artifact in found.items() if artifact is not None}


def _sound(store: Store, label: str | None) -> Artifact | None:
    if label is None:
        return None
    try:
        return store.find(*label.split("/"))
    except DamagedArtifact:
        return None


def images_summary(root: Path, now: Artifact, before: RunRecord | None) -> str:
    """How many images are new, changed (their pixels or tags) and gone since a run; "" where nothing is known.

    Args:
        root: the store's folder.
        now: `index_dataset` artifact.
        before: the run to compare with.
    """
    old = _sound(Store(root), before.labels.get(DATASET)) if before else None
    if old is None:
        return f"{now.images} images"
    shared, changed = now.images, 0
    if now.path != old.path:  # else there is nothing to be read
        shared = 0
        for _, (item, before_it) in joined(now.items(), old.items()):
            shared, changed = shared + 1, changed + (item != before_it)
    counts = {"new": now.images - shared, "changed": changed, "removed": old.images - shared}
    if not any(counts.values()):
        return f"{now.images} images, none new, changed or removed since the last run"
    changes = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"{now.images} images: {changes} since the last run"
