"""The UI in a real browser: the graph and the cached stages, the table and the picture, and a form that starts a run.

With TAG2MASK_SCREENSHOTS=FOLDER it is the whole demo that is shown, and the pages are kept as pictures.
"""

import os
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.flows.prefect_api import until
from tests.flows.served import Served, browser, serving, write_tiny

SCREENSHOTS = os.environ.get("TAG2MASK_SCREENSHOTS")
SECONDS = 3600 if SCREENSHOTS else 240
"""Longest run."""
pytestmark = [
    pytest.mark.serving,
    pytest.mark.xdist_group("browser"),  # one run is shown to all
    pytest.mark.timeout(2 * SECONDS + 900),
]
FIRST, NEXT = ("refine_cams", "fuse_labels-1") if SCREENSHOTS else ("mine_objects", "mask_nonsalient-1")
"""What makes labels 0 and 1: of the demo as it is installed, and of the small run, which goes the published way."""
FIELD, DEFAULT = ("background", 0.1) if SCREENSHOTS else ("foreground", 0.3)
"""A threshold of the first, and its value."""
COLORS = 256
"""Of a picture that is kept."""
PATIENCE = 60_000
"""Milliseconds to wait for an element."""


@dataclass
class Shown:
    """A browser's page on a server with a finished and a cached run."""

    served: Served
    page: Any
    built_run: str
    cached_run: str
    foreign: list[str]
    """Addresses outside of the server that the pages asked for."""

    def go(self, path: str) -> Any:
        """Open a page of the UI."""
        self.page.goto(self.served.api.address.removesuffix("/api") + path)
        return self.page

    def keep(self, name: str) -> None:
        """Keep a picture of the page, if that is asked for."""
        if SCREENSHOTS:
            self.page.wait_for_timeout(2500)  # let drawings come to rest
            picture = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
            small = picture.quantize(COLORS, dither=Image.Dither.NONE)  # a third of the bytes
            small.save(Path(SCREENSHOTS) / f"ui-{name}.png", optimize=True)

    def artifact(self, key: str) -> Any:
        """Open the newest page of a key."""
        content = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
        (found,) = self.served.api.call("artifacts/filter", content)
        return self.go(f"/artifacts/artifact/{found['id']}")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The tiny run, served, run twice and looked at."""
    folder = tmp_path_factory.mktemp("browser")
    config = write_tiny(folder, "demo", whole=bool(SCREENSHOTS))
    with browser() as started, serving(folder, config, cron="0 2 * * *") as served:
        runs = [served.api.start("regenerate/demo")]
        assert served.api.ended(runs[0], SECONDS)["state_type"] == "COMPLETED"
        runs.append(served.api.start("regenerate/demo"))
        assert served.api.ended(runs[1])["state_type"] == "COMPLETED"
        served.api.ended_tasks(runs[1])
        page = started.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        found = Shown(served, page, runs[0], runs[1], [])
        own = (served.api.address.removesuffix("/api"), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(own) else found.foreign.append(r.url))
        yield found


def test_the_run_page_shows_the_graph_and_what_was_cached(shown: Shown) -> None:
    """A run's page draws its graph, whose edges the server knows, and counts its tasks as `Cached`."""
    page = shown.go(f"/runs/flow-run/{shown.built_run}")
    page.locator("canvas").first.wait_for()
    shown.keep("run")
    page = shown.go(f"/runs/flow-run/{shown.cached_run}")
    page.locator("canvas").first.wait_for()
    page.get_by_text("is up to date").first.wait_for()
    graph = shown.served.api.call(f"flow_runs/{shown.cached_run}/graph-v2")
    nodes = dict(graph["nodes"])
    labels = {node["label"].split()[0]: node for node in nodes.values()}
    parents = {nodes[parent["id"]]["label"].split()[0] for parent in labels["refine_masks-1"]["parents"]}
    assert parents == {"index_dataset", "predict_masks-1"}
    page.get_by_text("Task Runs", exact=True).first.click()
    page.get_by_text("Cached", exact=True).first.wait_for()
    assert page.get_by_text("Cached", exact=True).count() >= 5


def test_the_artifacts_page_shows_the_tables_and_the_picture(shown: Shown) -> None:
    """The list has the stage's pages: a table with the mIoU, the gate's thresholds, a picture that has been drawn."""
    page = shown.go("/artifacts")
    page.get_by_text("demo-stages").first.wait_for()
    shown.keep("artifacts")
    page = shown.artifact("demo-evaluate-labels-1-metrics")
    page.locator("table").get_by_text("miou", exact=True).first.wait_for()
    shown.keep("metrics")
    page = shown.artifact("demo-gate")
    page.locator("table").get_by_text("missing_tags", exact=True).first.wait_for()
    page.locator("table").get_by_text("≤ 0.25").first.wait_for()
    shown.keep("gate")
    page = shown.artifact(f"demo-{NEXT.replace('_', '-')}-pictures")
    picture = page.locator("img[src^='data:image/jpeg']").first
    picture.wait_for()
    assert until(lambda: picture.evaluate("image => image.naturalWidth") or None, 10) > 100
    shown.keep("picture")
    page = shown.artifact("demo-stages")
    page.get_by_text(NEXT).first.wait_for()
    shown.keep("stages")


def test_the_form_takes_a_threshold_and_starts_the_run(shown: Shown) -> None:
    """A person changes a threshold in the form of a stage and presses the button, and the run has that threshold."""
    deployment = shown.served.api.deployment(f"{FIRST}/demo-{FIRST}")
    page = shown.go(f"/deployments/deployment/{deployment['id']}/run")
    page.get_by_text(FIELD, exact=False).first.wait_for()
    fields = page.locator("input[type=number]")
    number = [float(fields.nth(i).input_value() or "nan") for i in range(fields.count())].index(DEFAULT)
    fields.nth(number).fill("0.65")
    shown.keep("form")
    page.get_by_role("button", name="Submit").click()
    content = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    (run,) = until(lambda: shown.served.api.call("flow_runs/filter", content) or None, 30)
    assert run["parameters"]["settings"][FIELD] == 0.65
    assert shown.served.api.ended(run["id"], SECONDS)["state_type"] == "COMPLETED"
    ends = {name: task["state_name"] for name, task in shown.served.api.ended_tasks(run["id"]).items()}
    assert ends[FIRST] == "Completed" and ends["infer_cams"] == "Cached"
    shown.go("/deployments").get_by_text("demo-infer_cams").first.wait_for()
    shown.keep("deployments")


def test_the_pages_ask_nobody_else(shown: Shown) -> None:
    """No page asks for anything outside of the server: none of those above, and none of the UI's own lists."""
    for path in ("/dashboard", "/runs", f"/runs/flow-run/{shown.built_run}", "/deployments", "/artifacts", "/settings"):
        shown.go(path).wait_for_load_state("networkidle")
    assert shown.foreign == []


def test_changes_need_a_token_and_our_own_commands_have_it(shown: Shown) -> None:
    """The server refuses a change without a CSRF token, and takes a run from the command line."""
    served = shown.served
    with pytest.raises(urllib.error.HTTPError) as refused:
        replace(served.api, headers={}).start("regenerate/demo")
    assert refused.value.code == HTTPStatus.FORBIDDEN and b"CSRF" in refused.value.read()
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", str(served.folder / "demo.yaml")]
    command += ["--root", str(served.root), "--engine", "prefect"]
    reported = subprocess.run(
        command, env=served.environment, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert "stages are up to date" in reported.stdout
    chosen = {"flow_runs": {"deployment_id": {"is_null_": True}}}
    assert [run["state_type"] for run in served.api.call("flow_runs/filter", chosen)] == ["COMPLETED"]
