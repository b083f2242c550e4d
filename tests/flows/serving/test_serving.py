"""A server with the deployments of a tiny run: started, looked at and stopped through its API, as the UI does."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tag2mask.flows.dag.record import latest
from tag2mask.tasks.release.releases import Releases
from tag2mask.tasks.store.store import Store
from tests.flows.prefect_api import until
from tests.flows.served import Served, serving, write_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONG = {"epochs": 4000, "accumulate_from": 0}
"""Settings of a classifier that nobody waits for."""
PUBLISHED = [
    "release.publish=true",
    "release.maximum_ignored_share=0.9",
    *(f"release.{setting}=null" for setting in ("maximum_missing_tags", "maximum_wholly_ignored", "minimum_miou")),
    *(f"release.{setting}=null" for setting in ("minimum_class_ratio", "maximum_class_divergence")),
    *(f"release.{setting}=null" for setting in ("minimum_cam_agreement", "minimum_saliency_agreement")),
]
"""Changes that publish what a network learns in two steps: nothing but background, some of it ignored."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tiny run, served."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, write_tiny(folder), cron="0 2 * * *") as found:
        yield found


@pytest.fixture(scope="module")
def regenerated(served: Served) -> str:
    """A run of the whole regeneration, from nothing."""
    run_id = served.api.start("regenerate/tiny")
    run = served.api.ended(run_id)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    return run_id


def states(tasks: dict[str, Any]) -> dict[str, str]:
    """Node -> name of its state."""
    return {name: run["state_name"] for name, run in tasks.items()}


def test_the_regeneration_runs_with_edges_and_names(served: Served, regenerated: str) -> None:
    """A started regeneration builds every stage as a task whose inputs are the tasks that it reads from."""
    tasks = served.api.ended_tasks(regenerated)
    assert set(states(tasks).values()) == {"Completed"} and len(tasks) > 15
    assert served.api.run(regenerated)["name"] == "tiny regenerate"
    assert tasks["train_segmenter-1"]["name"] == "train_segmenter-1 tiny"
    parents = {source["id"] for sources in tasks["mine_objects"]["task_inputs"].values() for source in sources}
    wanted = ("index_dataset", "predict_saliency", "infer_attention", "infer_cams")
    assert parents == {tasks[name]["id"] for name in wanted}


def test_a_run_leaves_tables_pictures_and_a_report(served: Served, regenerated: str) -> None:
    """The run has its plan, its figures, small pictures without foreign addresses, and a report that can be read."""
    found = served.api.artifacts(regenerated)
    assert "never built" in found["tiny-plan"]["data"] and "built" in found["tiny-stages"]["data"]
    assert "| `miou` | 0." in found["tiny-evaluate-labels-1-metrics"]["data"]
    for name in ("infer-cams", "predict-saliency", "mine-objects", "refine-masks-1", "mask-nonsalient-1"):
        picture = found[f"tiny-{name}-pictures"]["data"]
        assert "](data:image/jpeg;base64," in picture and 1000 < len(picture) <= 200_200
    link = found["tiny-report"]["data"]
    address = link[link.index("http") : link.index(")")]
    with urllib.request.urlopen(address, timeout=10) as page:
        assert page.read().startswith(b"<!DOCTYPE html>")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(address.replace("report.html", "manifest.json"), timeout=10)


def test_a_run_shows_what_the_gate_would_say(served: Served, regenerated: str) -> None:
    """The page of a run that measured its labels has every signal and threshold, and says that nothing is released."""
    page = served.api.artifacts(regenerated)["tiny-gate"]["data"]
    assert "**would be kept back**" in page and "tag2mask publish decides" in page
    assert "| `miou` | 0." in page and "| `changed_images` | – |" in page
    assert not (served.root / "releases").exists()


def test_the_log_has_a_line_per_event(served: Served, regenerated: str) -> None:
    """A run's log has one line when the run begins, one when a stage or the run ends, the precision, and no other."""
    until(lambda: any("report:" in line for line in served.api.logs(regenerated)) or None, 20)
    lines = served.api.logs(regenerated)
    reported = [line for line in lines if not line.startswith("precision: ")]
    assert [line for line in reported if not line.startswith(("Beginning flow run", "Finished in state"))] == []
    assert len(reported) == len(served.api.tasks(regenerated)) + 2


def test_repeating_is_cached(served: Served, regenerated: str) -> None:
    """The same run again has every stage in state `Cached`, which says which artifact."""
    run_id = served.api.start("regenerate/tiny")
    assert served.api.ended(run_id)["state_type"] == "COMPLETED"
    tasks = served.api.ended_tasks(run_id)
    assert set(states(tasks).values()) == {"Cached"}
    record = latest(served.root, "tiny")
    assert record is not None
    label = record.labels["mine_objects"]
    assert tasks["mine_objects"]["state"]["message"] == f"artifact {label} is up to date"


def test_a_stage_runs_with_settings_from_its_form(served: Served, regenerated: str) -> None:
    """One stage with a changed threshold is built, what it needs is `Cached`, and what follows it waits for a word."""
    settings = served.api.deployment("mine_objects/tiny-mine_objects")["parameters"]["settings"]
    run_id = served.api.start(
        "mine_objects/tiny-mine_objects", settings={**settings, "foreground": 0.6}, downstream=False
    )
    run = served.api.ended(run_id)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["name"] == "tiny mine_objects foreground: 0.3 → 0.6"
    found = states(served.api.ended_tasks(run_id))
    assert found.pop("mine_objects") == "Completed"
    assert set(found.values()) == {"Cached"} and "train_segmenter-1" not in found


def test_runs_release_what_passes_the_gate_and_keep_back_the_rest(served: Served, regenerated: str) -> None:
    """A run that publishes makes a release, one with worse labels a candidate, and state and page say which and why."""
    api, releases = served.api, Releases(Store(served.root), "tiny")
    first = api.start("regenerate/tiny", changes=PUBLISHED)
    run = api.ended(first)
    assert run["state_type"] == "COMPLETED" and "released: tiny@1" in run["state"]["message"]
    assert releases.latest() == 1 and len(list((releases.read("latest").path / "labels").iterdir())) == 6
    page = api.artifacts(first)["tiny-gate"]["data"]
    assert r"**released\: tiny\@1 \(" in page and "| `ignored_share` | 0." in page and "**failed**" not in page

    filtered = "prediction.filter_by_tags=false"  # else two steps of training make everything the tagged class
    all_ignored = [*PUBLISHED, filtered, "masking.minimum_foreground=1"]  # no segmenter can be trained on them
    second = api.start("regenerate/tiny", changes=all_ignored, until="measure_labels")
    run = api.ended(second)
    why = "failed: ignored_share 1 is above maximum_ignored_share 0.9"
    assert run["state_type"] == "COMPLETED" and why in run["state"]["message"]
    assert "kept as a candidate, not released" in run["state"]["message"]
    assert releases.latest() == 1 and releases.numbers() == [1] and len(releases.candidates()) == 1
    page = api.artifacts(second)["tiny-gate"]["data"]
    assert "**kept as a candidate" in page and r"ignored\_share 1 is above maximum\_ignored\_share" in page
    assert "| `ignored_share` | 1.000 | ≤ 0.9 | **failed** |" in page


def test_forms_are_made_of_the_settings(served: Served) -> None:
    """A stage's form has each setting with its description and bounds, and the file's values filled in."""
    deployment = served.api.deployment("mine_objects/tiny-mine_objects")
    section = deployment["parameter_openapi_schema"]["definitions"]["Mining"]["properties"]
    assert section["foreground"]["maximum"] == 1 and "evidence" in section["foreground"]["description"]
    assert deployment["parameters"]["settings"]["minimum_foreground"] == 0
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.api.start("mine_objects/tiny-mine_objects", settings={"foreground": 7})
    assert refused.value.code in (409, 422) and b"maximum" in refused.value.read()


def test_every_stage_of_the_run_is_offered(served: Served) -> None:
    """The regeneration has the schedule, and every stage a deployment without one."""
    found = {d["name"]: d for d in served.api.call("deployments/filter", {})}
    assert [s["schedule"]["cron"] for s in found.pop("tiny")["schedules"]] == ["0 2 * * *"]
    assert {"tiny-train_segmenter", "tiny-refine_masks", "tiny-render_report"} <= found.keys()
    assert all(not deployment["schedules"] for deployment in found.values())


def started_training(served: Served) -> str:
    """A run that trains a classifier for a long time, after it took the slot."""
    run_id = served.api.start("train_classifier/tiny-train_classifier", settings=LONG, downstream=False)
    until(lambda: served.slots == 1 or None, 60)
    return run_id


def test_cancelling_frees_the_slot_and_keeps_the_work(served: Served, regenerated: str) -> None:
    """A cancelled training stops within seconds, gives the slot back, and what it has done so far stays for another."""
    run_id = started_training(served)
    work = until(lambda: next((served.root / ".work").glob("train_classifier/*"), None), 60)
    served.api.set_state(run_id, "CANCELLING")
    assert served.api.ended(run_id, 20)["state_type"] == "CANCELLED"
    until(lambda: served.slots == 0 or None, 10)
    stopped = served.api.ended_tasks(run_id)["train_classifier"]
    assert stopped["state_type"] in {"CANCELLED", "CRASHED", "FAILED"}
    assert work.is_dir()
    record = latest(served.root, "tiny")
    assert record is not None and record.content["state"] == "stopped"
