"""Settings are read strictly, within bounds, and without quoting a file that somebody took for settings."""

from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.strict_yaml import MAXIMUM_BYTES, NotStrictYaml, parse, yaml_value

SECRET = "correct-horse-battery"


def ladder(first: str, form: str) -> str:
    """Nine anchors, each of which repeats the one before nine times."""
    repeats = (form.format(i, ", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 9))
    return "\n".join([first, *repeats])


LADDER = ladder("a0: &a0 [x, x, x, x, x, x, x, x, x]", "a{0}: &a{0} [{1}]")
MERGES = ladder("a0: &a0 {k: 1}", "a{0}: &a{0} {{<<: [{1}]}}")


def refusal(content: bytes | str, folder: Path) -> str:
    """What is said of a settings file, without its name."""
    path = folder / "settings.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and "\n" not in message, message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        ("dataset: {}\nname: x\ndataset: {}\n", "line 3: 'dataset' stands in line 1 already; write it once"),
        ("name: x\ncams: {flip: on, scales: [1], flip: off}", "line 2: 'flip' stands in line 2 already; write it once"),
        (LADDER, "line 5: holds more than 20000 values, those that anchors repeat included"),
        (MERGES, "line 5: holds more than 20000 values, those that anchors repeat included"),
        ("a: &a [1, *a]", "line 1: an anchor is used inside of itself"),
        ("[" * 5000, "line 1: is nested more than 20 levels deep"),
        ("{a: " * 5000, "line 1: is nested more than 20 levels deep"),
        ("- " * 5000, "line 1: is nested more than 20 levels deep"),
        ("name: übung\n".encode("latin-1"), "line 1: byte 0xfc is not UTF-8; save it as UTF-8"),
        ("name: x\n".encode("utf-16"), "is written in UTF-16; save it as UTF-8"),
        (b"\xff\xfe\x00\x00n\x00\x00\x00", "is written in UTF-16; save it as UTF-8"),
        ("name: \0x", "line 1: the character U+0000 is not allowed"),
        ("x: " + "9" * 5000, "holds a number or a date that cannot be read"),
        ("x: 2026-13-45", "holds a number or a date that cannot be read"),
        ("", "must hold sections such as 'dataset:', not NoneType"),
        ("- dataset", "must hold sections such as 'dataset:', not list"),
        (f"a: {'x' * MAXIMUM_BYTES}", f"is larger than {MAXIMUM_BYTES} bytes, so it holds no settings"),
    ],
)
def test_what_nobody_can_have_meant_is_refused_in_one_line(tmp_path: Path, content: bytes | str, reported: str) -> None:
    """Keys written twice, exploding anchors, deep nesting, other encodings and broken values are named by line."""
    assert refusal(content, tmp_path) == reported


@pytest.mark.parametrize(
    "content",
    [
        f"root:*:19000:0:99999:7:::\n{SECRET}:x:1:1",
        f"password: {SECRET}",
        f"a: *{SECRET}",
        f"a: !{SECRET} b",
        f"a: 'x' {SECRET}",
        f"{SECRET}",
        f"a: b: {SECRET}",
        f"- {SECRET}",
        f"%{SECRET} x",
        f"a: [1, 2\n{SECRET}: 3",
        f"name: &{SECRET} x\nb: &{SECRET} y\nc: [",
        f'a: "\\{SECRET}"',
        f"name: x\ndataset: {{root: data}}\nrounds: {'x' * 100}{SECRET}",
        f"{'x' * 100}{SECRET}: 3",
    ],
)
def test_no_message_quotes_a_file(tmp_path: Path, content: str) -> None:
    """What is wrong with a file is said by line and key, and nothing else of its content comes back."""
    assert SECRET not in refusal(content, tmp_path)


def test_devices_and_folders_are_no_settings(tmp_path: Path) -> None:
    """What never ends or is no file is refused at once."""
    for path, reported in ((Path("/dev/zero"), "is no regular file"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError, match=reported):
            load_config(path)


def test_anchors_and_merges_within_bounds_are_read() -> None:
    """What YAML offers for repeating oneself works, and a merged key may be written over."""
    assert parse("a: &a {k: 1, l: 2}\nb: {<<: *a, k: 3}\nc: [*a, *a]") == {
        "a": {"k": 1, "l": 2},
        "b": {"k": 3, "l": 2},
        "c": [{"k": 1, "l": 2}] * 2,
    }


def test_a_mark_of_utf8_is_read_over(tmp_path: Path) -> None:
    """A file that begins with a byte-order mark of UTF-8, as some editors write it, is read like any other."""
    assert refusal("\ufeffname: x", tmp_path).startswith("dataset: ")


def test_changes_are_read_as_strictly() -> None:
    """A value on the command line has the same bounds as one in a file."""
    with pytest.raises(NotStrictYaml, match="20 levels"):
        parse("[" * 100)
    demo = Path(__file__).parents[2] / "configs" / "demo.yaml"
    with pytest.raises(ConfigError, match=r"^--set cams.scales=[\[]{88}: line 1: is nested more than 20"):
        load_config(demo, ["cams.scales=" + "[" * 5000])


@pytest.mark.parametrize(
    "value", ["/data/\U00020bb7野/\U0001f4f7", 'a: b # "c"\t', b"caf\xe9".decode(errors="surrogateescape"), 1.5, None]
)
def test_a_value_in_a_line_comes_back(value: object) -> None:
    """Names of any script, with quotes, and those that are no UTF-8, pass through `--set` as they are."""
    line = yaml_value(value)
    assert line.isprintable() and parse(f"x: {line}") == {"x": value}
