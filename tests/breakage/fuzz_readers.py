"""A target for fuzzing the readers of settings and tags by hand, with coverage to guide it (`pip install atheris`).

    PYTHONPATH=. python tests/breakage/fuzz_readers.py -max_total_time=600

Without atheris it tries bytes drawn from a seed: `… fuzz_readers.py SEED COUNT`.  Anything but the readers' own errors
ends it with the bytes that did it.
"""

import random
import sys
import tempfile
from pathlib import Path

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.tasks.dataset.image_ids import BadTable, read_ids
from tag2mask.tasks.tags.formats import read_tags

NAMES = ("tags.csv", "tags.json", "tags.xml", "tags.jsonl")
GRAINS = (
    *(b"image_id,labels\n", b"\n", b'"', b",", b"[", b"{", b"<annotations>", b"</"),
    *(b": ", b"&a ", b"*a", b"!!", b"\0", b"\xff"),
)
FOLDER = Path(tempfile.mkdtemp(prefix="tag2mask-fuzz-"))


def try_bytes(content: bytes) -> None:
    """Give bytes to every reader."""
    for name in NAMES:
        path = FOLDER / name
        path.write_bytes(content)
        try:
            read_tags(path)
        except BadTable:
            continue
        finally:
            path.unlink()
    path = FOLDER / "file"
    path.write_bytes(content)
    for read, refused in ((read_ids, BadTable), (load_config, ConfigError)):
        try:
            read(path)
        except refused:
            continue


def try_drawn(seed: int, count: int) -> None:
    """Give drawn bytes to every reader."""
    chance = random.Random(seed)
    for _ in range(count):
        grains = [chance.choice(GRAINS) if chance.random() < 0.6 else chance.randbytes(3) for _ in range(20)]
        content = b"".join(grains[: chance.randrange(1, 20)])
        try:
            try_bytes(content)
        except Exception:
            print(repr(content), file=sys.stderr)
            raise


if __name__ == "__main__":
    try:
        import atheris
    except ImportError:
        try_drawn(*map(int, sys.argv[1:3]))
    else:
        atheris.instrument_all()
        atheris.Setup(sys.argv, try_bytes)
        atheris.Fuzz()
