"""Tables of images read side by side, and what is held of each image meanwhile."""

import random
from pathlib import Path

import pytest

from tag2mask.tasks.building.image_keys import SpooledKeys, joined
from tag2mask.tasks.store.journal import journaled_by_id, record_items

ODD = ("a", "b c", "é", 'quote"', "back\\slash", "\udcff", "{}", '","key":"no"}', "日本")


@pytest.mark.parametrize("seed", range(20))
def test_joined_tables_give_what_all_of_them_have(seed: int) -> None:
    """Read side by side, tables give the ids that stand in each, by id, with each one's value."""
    drawn = random.Random(seed)
    tables = [{f"i{drawn.randrange(30)}": drawn.random() for _ in range(20)} for _ in range(drawn.randrange(1, 4))]
    both = sorted(set.intersection(*map(set, tables)))
    assert list(joined(*(sorted(table.items()) for table in tables))) == [(i, [t[i] for t in tables]) for i in both]


def test_spooled_keys_can_be_read_again_and_leave_nothing_behind(tmp_path: Path) -> None:
    """Keys come back in order as often as they are asked for, and their file has no name in the folder."""
    pairs = [(name, f"{number:064x}") for number, name in enumerate(ODD)]
    keys = SpooledKeys([*pairs, ("line\nbreak", "0" * 64)], tmp_path)
    assert [*keys] == [*keys] == pairs and len(keys) == len(pairs) and not list(tmp_path.iterdir())
    assert not SpooledKeys([], tmp_path)


def test_journal_is_read_by_id_and_the_last_line_of_an_image_counts(tmp_path: Path, lasting_power: None) -> None:
    """However images were finished, their parts come by id, and what was written later replaces what was there."""
    assert not list(journaled_by_id(tmp_path))
    for number, names in enumerate((("b", "ab", "é"), ("a", "b"), ("ab",))):
        for name in names:
            (tmp_path / name).write_text(f"{name} {number}")
        record_items(tmp_path, {name: [tmp_path / name] for name in names}, lambda name, n=number: {"n": n})  # type: ignore[misc]
    assert [(part.image_id, part.facts["n"]) for part in journaled_by_id(tmp_path)] == [
        ("a", 1),
        ("ab", 2),
        ("b", 1),
        ("é", 0),
    ]
