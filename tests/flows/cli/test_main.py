"""The command line as a person uses it: as a program, on a small drawn dataset, with all stages real."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tag2mask.flows.cli.main import app
from tests.small_run import SmallRun, write_settings

HEAVY = "{'torch', 'numpy', 'pandas', 'prefect', 'scipy', 'skimage'}"


def tag2mask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its last line of output names the heavy packages that it imported."""
    program = (
        "import sys\n"
        "from tag2mask.flows.cli.main import main\n"
        "try:\n    main()\n"
        f"finally:\n    print('imported:', *sorted({HEAVY} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


def imported(process: subprocess.CompletedProcess[str]) -> set[str]:
    """Heavy packages that a command imported."""
    return set(process.stdout.splitlines()[-1].split()[1:])


@pytest.fixture(scope="module")
def finished(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, settings, and the store of a finished run."""
    assert "train_segmenter-2 done in" in small_run.said
    return small_run.copied(tmp_path_factory.mktemp("command_line") / "run").folder


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """`--help` lists the commands without torch, numpy or Prefect."""
    process = tag2mask(tmp_path, "--help")
    assert imported(process) == set()
    for command in ("run", "plan", "ls", "why", "verify", "gc", "init", "demo", "report", "publish", "releases"):
        assert f" {command} " in process.stdout


def test_the_version_is_said_without_a_command(tmp_path: Path) -> None:
    """`--version` prints the installed release, and imports nothing heavy."""
    process = tag2mask(tmp_path, "--version")
    assert process.stdout.splitlines()[0] == f"tag2mask {version('tag2mask')}" and imported(process) == set()


@pytest.mark.parametrize(
    ("command", "texts"),
    [
        ("export-model", ["onnx needs the extra tag2mask[onnx].", "[default: the model's name, here]"]),
        ("run", ["[default: those available]", "tls://host:8786. [default: local]"]),
        ("saliency", ["<id>.png and maps.csv", "[default: the model's, the settings', or reciprocal]"]),
    ],
)
def test_help_keeps_what_stands_in_brackets(command: str, texts: list[str]) -> None:
    """Square brackets and `<id>` are text, not markup: defaults and extras are there to read."""
    words = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"}).output.split())
    assert [text for text in texts if text not in words] == []


@pytest.mark.slow
def test_second_run_does_nothing_and_says_so(finished: Path) -> None:
    """A run of what is up to date says that, shows the report, and imports neither torch nor Prefect."""
    process = tag2mask(finished, "run", "small.yaml")
    assert "nothing to do: all 34 stages are up to date" in process.stdout
    assert imported(process) == set()
    report = next(line for line in process.stdout.splitlines() if line.startswith("report: "))
    page = Path(report.removeprefix("report: "))
    assert "<html" in page.read_text()
    assert tag2mask(finished, "report").stdout.splitlines()[0] == str(page.relative_to(finished))


@pytest.mark.slow
def test_plan_names_the_changed_setting(finished: Path) -> None:
    """`plan --set` says which stage would run, why, and what waits for it."""
    process = tag2mask(finished, "plan", "small.yaml", "--set", "mining.foreground=0.25")
    lines = [line.strip().split(maxsplit=2) for line in process.stdout.splitlines()]
    rows = {words[0]: words[1:] for words in lines if len(words) == 3}
    assert rows["mine_objects"] == ["run", "mining.foreground: 0.3 → 0.25"]
    assert rows["infer_attention"][0] == rows["evaluate-cams"][0] == "cached"
    assert rows["train_segmenter-1"][0] == rows["render_report"][0] == "waits"
    assert imported(process) == set()


@pytest.mark.slow
def test_artifacts_are_listed_explained_and_verified(finished: Path) -> None:
    """`ls`, `why`, `verify` and `gc` read the store back."""
    listing = tag2mask(finished, "ls", "evaluate").stdout
    assert listing.count("evaluate/") == 12 and "small: evaluate-labels_1" in listing and "miou" in listing
    reported = tag2mask(finished, "why", "mine_objects").stdout
    assert "foreground: 0.3" in reported and "saliency: predict_saliency/" in reported and "torch:" in reported
    verified = tag2mask(finished, "verify")
    assert verified.returncode == 0 and "34 artifacts are sound, 0 damaged" in verified.stdout
    assert "would delete 0 items" in tag2mask(finished, "gc", "--dry-run").stdout


@pytest.mark.slow
def test_labels_are_published_compared_and_handed_over(finished: Path) -> None:
    """A finished run becomes a candidate that says why, a release by a person's word, and a COCO file."""
    refused = tag2mask(finished, "publish", "small.yaml", "--set", "release.minimum_miou=1.0")
    assert refused.returncode == 1 and "is below minimum_miou 1" in refused.stdout
    forced = tag2mask(finished, "publish", "small.yaml", "--force-release", "a test")
    assert forced.returncode == 0 and "released: small@1, forced: a test" in forced.stdout
    again = tag2mask(finished, "run", "small.yaml", "--set", "release.publish=true")
    assert "nothing to do" in again.stdout and "release: these labels are small@1 already" in again.stdout
    assert tag2mask(finished, "export", "small@1", "--out", "coco", "--format", "coco").returncode == 0
    artifact = next((finished / "artifacts" / "mine_objects").iterdir())
    compared = tag2mask(finished, "diff", f"mine_objects/{artifact.name}", "small@latest", "--out", "diff")
    assert compared.returncode == 0 and (finished / "diff" / "comparison.html").exists()
    assert imported(tag2mask(finished, "releases", "small")) == set()


@pytest.mark.slow
def test_damage_is_found_and_one_stage_is_rebuilt(finished: Path) -> None:
    """A flipped byte is named by `verify`, explained by `plan`, and mended by `run`."""
    label = next(file for file in (finished / "artifacts" / "mask_nonsalient").glob("*/*.png"))
    content = bytearray(label.read_bytes())
    content[-20] ^= 1
    label.write_bytes(content)
    verified = tag2mask(finished, "verify")
    assert verified.returncode == 1 and label.name in verified.stdout
    assert f"damaged: {label.name}" in tag2mask(finished, "plan", "small.yaml").stdout
    run = tag2mask(finished, "run", "small.yaml")
    assert [line for line in run.stdout.splitlines() if " built " in line][0].startswith("mask_nonsalient-1")
    assert run.stdout.count(" built ") == 1
    assert tag2mask(finished, "verify").returncode == 0


@pytest.mark.slow
def test_a_failure_is_one_message(finished: Path) -> None:
    """A failing stage is named with its cause and the place of the tracebacks; the exit code is 1."""
    process = tag2mask(finished, "run", "small.yaml", "--set", "mining.minimum_foreground=1.0")
    assert process.returncode == 1
    assert "tag2mask: train_segmenter-1: " in [line[:29] for line in process.stderr.splitlines()]
    assert "Traceback" not in process.stderr
    log = next(line for line in process.stderr.splitlines() if line.startswith("tracebacks: "))
    assert "Traceback" in (finished / log.removeprefix("tracebacks: ")).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "none.yaml: cannot be read"),
        (["run", "small.yaml", "--set", "minign.foreground=1"], "unknown section 'minign'; the nearest is 'mining'"),
        (["run", "small.yaml", "--set", "foreground=1"], "unknown key 'foreground'; write mining.foreground"),
        (["run", "small.yaml", "--set", "roundz=1"], "unknown key 'roundz'; the nearest is 'rounds'"),
        (
            ["run", "small.yaml", "--set", "segmenter.precision=bfloat16"],
            "delete it; to choose by hand, run with --precisi",
        ),
        (["run", "small.yaml", "--only", "mine"], "no stage 'mine' in this run; it has: index_dataset"),
        (["run", "small.yaml", "--from", "evaluate-cams", "--until", "infer_cams"], "nothing to run"),
        (["run", "small.yaml", "--until", "train_classifier"], "tag2mask: dataset.images: "),
        (["why", "mine_objects"], "there is no artifact store in artifacts, which does not exist"),
        (["report"], "`tag2mask run` makes one"),
        (["init", "nowhere", "--out", "x.yaml"], "nowhere: no such folder"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_reported_in_one_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Every mistake ends with exit code 1, what is wrong and the remedy, and no traceback."""
    write_settings(tmp_path)
    process = tag2mask(tmp_path, *arguments)
    assert process.returncode == 1
    assert process.stderr.startswith("tag2mask: ") and message in process.stderr
    assert "Traceback" not in process.stderr


def test_wrong_usage_has_code_two(tmp_path: Path) -> None:
    """An unknown option is a matter of usage."""
    assert tag2mask(tmp_path, "run", "small.yaml", "--rot", "x").returncode == 2
