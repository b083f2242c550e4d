"""From the labels of a finished run to a release or a candidate: compare, judge, keep."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tag2mask.configs.sections import release as settings
from tag2mask.tasks.release.comparison import Comparison, compare
from tag2mask.tasks.release.contents import Draft
from tag2mask.tasks.release.gate import Judgement, judge
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.release.releases import Release, Releases, damage_of
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.manifest import DamagedArtifact, Fault
from tag2mask.tasks.store.store import Store

State = Literal["released", "candidate", "unchanged"]


@dataclass(frozen=True)
class Publication:
    """What became of a label set."""

    release: Release
    state: State
    """`unchanged`: these labels are a release already."""
    latest: int | None
    """Number of the release to use now."""
    damaged: tuple[str, ...] = ()
    """What is wrong with releases and candidates that were there before, a line each."""

    def lines(self) -> list[str]:
        """What to say of it, the outcome first."""
        manifest = self.release.manifest
        gate, title = manifest["gate"], self.release.title
        damaged = [f"damaged: {fault}: not compared with, delete its folder" for fault in self.damaged]
        if self.state == "unchanged":
            at = "" if self.latest == self.release.number else f"; latest stays at {self.latest}"
            return [f"release: these labels are {title} already{at}", *damaged]
        if self.state == "candidate":
            first = [f"kept as a candidate, not released: {self.release.path}"]
        else:
            forced = f", forced: {gate['forced']}" if gate["forced"] else ""
            first = [f"released: {title}{forced} ({self.release.path})"]
        if corrected := manifest.get("corrected"):
            first.append(f"{corrected} of {manifest['images']} images corrected by hand")
        lines = first + [f"failed: {failure}" for failure in gate["failures"]] + [_changes(manifest)]
        return lines + ([f"not measured: {', '.join(gate['not_measured'])}"] if gate["not_measured"] else []) + damaged


def _changes(manifest: Mapping[str, Any]) -> str:
    before = manifest["compared_with"]
    if before is None:
        return "there is no release before to compare with"
    changes = manifest["changes"]
    moved = f"{changes['changed']} of {changes['compared']} images changed"
    return f"since {before['title']}: {moved}, {changes['added']} added, {changes['removed']} removed"


def publish(
    store: Store,
    name: str,
    draft: Draft,
    rules: settings.Release,
    *,
    evaluation: Artifact | None = None,
    about: Mapping[str, Any],
    forced: str | None = None,
    threads: int = 1,
) -> Publication:
    """Make a label set a release, or a candidate where the gate says so.  Labels released before stay that release.

    Args:
        store: the store.
        name: under which it is released.
        draft: the labels and what belongs to them.
        rules: the gate.
        evaluation: `evaluate` artifact of the labels, where there are masks; only its mean IoU is read.
        about: facts for the manifest: settings, artifacts.
        forced: why to release it whatever the gate says; None leaves it to the gate.
        threads: images compared at once.

    Raises:
        DamagedArtifact: the labels, or the release before, are not what their manifests say; or `latest` or its history
            are not what they were.
        NoRoomOnDisk, StoreNotWritable: nothing was published.
    """
    releases, digest = Releases(store, name), draft.digest()
    with store.lock("run", shared=True), releases.held(), ExitStack() as use:
        for artifact in (draft.labels, draft.dataset, draft.signals, *([draft.report] if draft.report else [])):
            use.enter_context(store.lock(f"use-{artifact.stage}-{artifact.key}", shared=True))
        damaged = damage_of(releases, reread=False)
        spoilt = {store.root / fault.label for fault in damaged}
        standing = releases.with_digest(digest, but=spoilt)
        faults = tuple(map(str, damaged))
        if standing is not None:
            return Publication(standing, "unchanged", releases.latest(), faults)
        before = _latest_sound(releases, damaged)
        comparison = _compared(store, draft, before, threads)
        figures = _figures(draft.signals, evaluation, before, comparison, rules)
        judgement = judge(figures, rules, forced=forced)
        facts = {
            **about,
            "name": name,
            "digest": digest,
            "images": len(draft.index),
            "corrected": draft.corrected,
            "classes": list(draft.index.classes),
            "dataset": draft.dataset.label,
            "gate": judgement.as_json(),
            "compared_with": None if before is None else {"title": before.title, "digest": before.manifest["digest"]},
            "changes": _counted(comparison, rules.changed_pixels),
        }
        release = _standing_candidate(releases, facts, spoilt) if not judgement.released else None
        if release is None:
            release = releases.make(
                facts,
                lambda out: draft.write(out, comparison, rules.changed_pixels),
                draft.expected(),
                released=judgement.released,
            )
        return Publication(release, "released" if judgement.released else "candidate", releases.latest(), faults)


def _latest_sound(releases: Releases, damaged: Sequence[Fault]) -> Release | None:
    """The release to compare with; None before the first.

    Raises:
        DamagedArtifact: it is damaged; the message says how to go on.
    """
    number = releases.latest()
    if number is None or number not in (numbers := releases.numbers()):
        return None  # deleted, as were all others: else the pointer would not have passed
    folder, spoilt = releases.folder / str(number), {releases.store.root / fault.label for fault in damaged}
    fault = next((fault for fault in damaged if releases.store.root / fault.label == folder), None)
    if fault is None:
        return releases.read(number)
    sound = [other for other in numbers if releases.folder / str(other) not in spoilt]
    remedy = f"`tag2mask latest {releases.name} {sound[-1]}`" if sound else f"delete {folder}"
    raise DamagedArtifact(f"{fault}: it is the latest release and cannot be compared with: {remedy}, and publish again")


def _compared(store: Store, draft: Draft, before: Release | None, threads: int) -> Comparison | None:
    """The labels beside the release that is in use."""
    if before is None:
        return None
    old = LabelSet.of_release(before.path, before.manifest, store.root, before.title)
    index = draft.index
    files = {image_id: draft.labels.path / f"{image_id}.png" for image_id in index.ids}
    new = LabelSet(draft.labels.label, files, index.classes, draft.dataset.path, draft.label_digests())
    return compare(old, new, threads=threads)


def weigh(
    store: Store, name: str, signals: Artifact, rules: settings.Release, *, evaluation: Artifact | None = None
) -> Judgement:
    """What the gate would say of labels by what is measured of them already; nothing is compared or written.

    Args:
        store: the store.
        name: under which they would be released.
        signals: `measure_labels` artifact of the labels.
        rules: the gate.  `changed_images` stays unmeasured, and is not required here.
        evaluation: `evaluate` artifact of the labels, where there are masks.

    Raises:
        DamagedArtifact: the release before is not what its manifest says.
    """
    releases = Releases(store, name)
    before = None if releases.latest() is None else releases.read("latest")
    required = [signal for signal in rules.required if signal != "changed_images"]
    return judge(_figures(signals, evaluation, before, None, rules), rules.replaced(required=required))


def _figures(
    signals: Artifact,
    evaluation: Artifact | None,
    before: Release | None,
    comparison: Comparison | None,
    rules: settings.Release,
) -> dict[str, float | None]:
    """All that the gate looks at; what is not known is None."""
    figures: dict[str, float | None] = dict(read_json(signals.path / "metrics.json"))
    summary = {} if evaluation is None else read_json(evaluation.path / "scores.json")["summary"]
    miou: float | None = summary.get("miou")
    figures["miou"] = miou
    figures["changed_images"] = None if comparison is None else comparison.changed_share(rules.changed_pixels)
    judged = [] if before is None else before.manifest["gate"]["signals"]
    earlier: float | None = next((signal["value"] for signal in judged if signal["signal"] == "miou"), None)
    figures["miou_drop"] = None if miou is None or earlier is None else earlier - miou
    return figures


def _counted(comparison: Comparison | None, threshold: float) -> dict[str, int] | None:
    if comparison is None:
        return None
    numbers = {"added": len(comparison.added), "removed": len(comparison.removed)}
    return {"compared": len(comparison.images), "changed": len(comparison.changed(threshold)), **numbers}


def _standing_candidate(releases: Releases, facts: Mapping[str, Any], but: Collection[Path]) -> Release | None:
    """The candidate of the same labels, judged the same against the same release; it need not be written again."""
    same = ("digest", "gate", "compared_with", "dataset")
    for candidate in releases.candidates():
        if candidate.path not in but and all(candidate.manifest[key] == facts[key] for key in same):
            return candidate
    return None
