"""A web page of somebody else in a real browser, against an unguarded server, which it enters, and against ours.

With TAG2MASK_SCREENSHOTS=FOLDER what the page and the server show is kept as pictures.
"""

import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tag2mask.flows.pages.markdown import text
from tag2mask.flows.pages.run_pages import metrics_table
from tag2mask.flows.serving.report_server import serve_reports
from tests.flows.prefect_api import Api, free_port, until
from tests.flows.served import browser, end, environment_of, running_server

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1800)]
PAGE = (Path(__file__).parent / "attack.html").read_text(encoding="utf-8")
NAMES = "attacker.test", "rebound.test"
"""Names that lead the browser to this machine: of a foreign page, and of one that was made to point to our server."""
PATIENCE = 120_000
"""Milliseconds to wait for a page or an element."""
SCREENSHOTS = os.environ.get("TAG2MASK_SCREENSHOTS")


@dataclass(frozen=True)
class Attacked:
    """A server with a deployment, and a browser beside it."""

    api: Api
    started: Any
    """The browser."""

    @property
    def base(self) -> str:
        """The server's address."""
        return self.api.address.removesuffix("/api")

    def open_page(self) -> Any:
        """An empty page of the browser."""
        page = self.started.new_page()
        page.set_default_timeout(PATIENCE)
        return page

    def attack(self, origin: str, target: str, picture: str) -> Mapping[str, bool]:
        """What a page of an origin achieves against a target; the changes as the server knows them."""
        page, deployment = self.open_page(), self.api.deployment("victim/victim")["id"]
        query = urllib.parse.urlencode({"target": target, "deployment": deployment})
        before = self._changes()
        page.route(f"{origin}/attack?**", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.goto(f"{origin}/attack?{query}")
        page.wait_for_function("window.outcome")
        reported = page.evaluate("window.outcome")
        frame = page.frame(name="shown")
        reported["showsThePage"] = frame is not None and "Deployments" in frame.content()
        reported |= {name: count > before[name] for name, count in self._changes().items()}
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"attack-{picture}.png")
        page.close()
        return reported

    def _changes(self) -> dict[str, int]:
        runs = self.api.call("flow_runs/filter", {"flow_runs": {"name": {"any_": ["foreign"]}}})
        flows = self.api.call("flows/filter", {"flows": {"name": {"any_": ["posted="]}}})
        return {"startsARun": len(runs), "submitsAForm": len(flows)}


@pytest.fixture(scope="module")
def foreigner() -> Iterator[Any]:
    """A browser in which foreign names lead here."""
    rules = ", ".join(f"MAP {name} 127.0.0.1" for name in NAMES)
    # Chromium asks the user before a page of the internet reaches this machine; other browsers do not
    with browser(f"--host-resolver-rules={rules}", "--disable-features=LocalNetworkAccessChecks") as started:
        yield started


def attacked(api: Api, started: Any) -> Attacked:
    """A browser, and a server with a deployment that has run, which is an event."""
    flow = api.call("flows/", {"name": "victim"})
    api.call("deployments/", {"name": "victim", "flow_id": flow["id"]})
    api.start("victim/victim")
    until(lambda: api.call("events/filter", {"filter": {}})["events"] or None, 60)
    return Attacked(api, started)


@contextmanager
def unguarded(folder: Path) -> Iterator[Api]:
    """Prefect's server as `prefect server start` starts it, with CORS for its own page alone."""
    port = free_port()
    environment = environment_of(folder, port) | {
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    (folder / "prefect").mkdir()
    command = [sys.executable, "-m", "prefect", "server", "start"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    api = Api(environment["PREFECT_API_URL"])
    try:
        until(lambda: api.answers(process), 600)
        yield api
    finally:
        end(process)


@pytest.fixture(scope="module")
def open_door(tmp_path_factory: pytest.TempPathFactory, foreigner: Any) -> Iterator[Attacked]:
    """Prefect's own server."""
    folder = tmp_path_factory.mktemp("unguarded")
    with unguarded(folder) as api:
        yield attacked(api, foreigner)


@pytest.fixture(scope="module")
def guarded_door(tmp_path_factory: pytest.TempPathFactory, foreigner: Any) -> Iterator[Attacked]:
    """Our server."""
    folder = tmp_path_factory.mktemp("guarded")
    with running_server(folder, environment_of(folder, free_port())) as api:
        yield attacked(api, foreigner)


def test_an_unguarded_server_lets_a_foreign_page_in(open_door: Attacked) -> None:
    """Without the guard the page reads events over the WebSocket, starts a run and shows the UI in a frame."""
    reported = open_door.attack("http://attacker.test", open_door.base, "before")
    entered = {"readsByWebSocket", "startsARun", "showsThePage", "loadsAsScript", "loadsAsPicture"}
    assert entered <= {name for name, got in reported.items() if got}, reported


def test_an_unguarded_server_answers_to_a_name_made_to_point_to_it(open_door: Attacked) -> None:
    """Without the guard a page whose name was rebound to the server reads and changes everything."""
    rebound = open_door.base.replace("127.0.0.1", "rebound.test")
    reported = open_door.attack(rebound, rebound, "rebound-before")
    assert reported["readsByFetch"] and reported["readsByWebSocket"] and reported["startsARun"], reported


def test_a_foreign_page_gets_nowhere(guarded_door: Attacked) -> None:
    """No attempt of a page of another name against our server succeeds."""
    reported = guarded_door.attack("http://attacker.test", guarded_door.base, "after")
    assert len(reported) == 7 and not any(reported.values()), reported


def test_a_page_of_another_port_gets_nowhere(guarded_door: Attacked) -> None:
    """A page of this machine's own address but another port, which browsers count to the same site, gets nowhere."""
    reported = guarded_door.attack(f"http://127.0.0.1:{free_port()}", guarded_door.base, "port-after")
    assert not any(reported.values()), reported


def test_a_name_made_to_point_here_gets_nowhere(guarded_door: Attacked) -> None:
    """A page whose name was rebound to our server gets no answer from it."""
    rebound = guarded_door.base.replace("127.0.0.1", "rebound.test")
    reported = guarded_door.attack(rebound, rebound, "rebound-after")
    assert not any(reported.values()), reported


def test_the_own_page_works_by_every_name_of_this_machine(guarded_door: Attacked) -> None:
    """The UI lists the deployment when opened by number, by `localhost`, and by a link on another page."""
    page = guarded_door.open_page()
    for base in (guarded_door.base, guarded_door.base.replace("127.0.0.1", "localhost")):
        page.goto(f"{base}/deployments")
        page.get_by_text("victim").first.wait_for()
    link = f'<a href="{guarded_door.base}/deployments">there</a>'
    page.route("http://attacker.test/link", lambda route: route.fulfill(body=link, content_type="text/html"))
    page.goto("http://attacker.test/link")
    page.get_by_text("there").click()
    page.get_by_text("victim").first.wait_for()
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / "attack-own-page.png")


def test_a_report_is_shown_to_nobody_elses_page(guarded_door: Attacked, tmp_path: Path) -> None:
    """A foreign page can neither fetch, frame nor rebind a report, and a person who follows a link sees it."""
    folder = tmp_path / "render_report" / ("0123456789" * 2)
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<!DOCTYPE html><p>a secret")
    address = f"{serve_reports(tmp_path, 0)}/{folder.name}/report.html"
    page = guarded_door.open_page()
    content = f'<a href="{address}">there</a><iframe name="shown" src="{address}"></iframe>'
    page.route("http://attacker.test/link", lambda route: route.fulfill(body=content, content_type="text/html"))
    page.goto("http://attacker.test/link")
    page.wait_for_timeout(1000)
    frame = page.frame(name="shown")
    assert frame is not None and "a secret" not in frame.content()
    reads = f"fetch('{address}').then(a => a.text()).then(t => t.includes('a secret')).catch(() => false)"
    assert page.evaluate(reads) is False
    page.get_by_text("there").click()
    page.get_by_text("a secret").wait_for()
    page.goto(address.replace("127.0.0.1", "rebound.test"))
    assert "a secret" not in page.content()


NAMES_OF_CLASSES = (
    "![t](http://attacker.test/x.png)",
    "[x](javascript:alert(1))",
    "<img src=http://attacker.test/i>",
    "a|`b`",
)


@pytest.mark.parametrize("interface", ["v1", "v2"])
def test_names_of_classes_are_text_in_the_pages(guarded_door: Attacked, interface: str) -> None:
    """A page of figures whose names are pictures, links and HTML shows these names, and has no picture and no link."""
    figures = {f"iou_{name}": 0.5 for name in NAMES_OF_CLASSES} | {"worst": NAMES_OF_CLASSES[0]}
    content = {"key": "figures", "type": "markdown"}
    content["data"] = f"# {text(NAMES_OF_CLASSES[1])}\n\n{metrics_table(figures, {})}"
    found = guarded_door.api.call("artifacts/", {**content, "description": text(NAMES_OF_CLASSES[2])})
    page = guarded_door.open_page()
    page.goto(f"{guarded_door.base}{'/v2' if interface == 'v2' else ''}/artifacts/artifact/{found['id']}")
    for name in figures:
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text(NAMES_OF_CLASSES[1], exact=True).first.wait_for()
    assert page.locator("a[href*='attacker'], a[href^='javascript'], img[src*='attacker']").count() == 0
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"names-{interface}.png")
