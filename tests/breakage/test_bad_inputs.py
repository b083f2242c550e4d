"""Whatever is wrong with what a person gives us, it is refused with the file's name and the error that is wanted."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.tasks.dataset.image_ids import BadTable, read_ids
from tag2mask.tasks.dataset.images import BadImage, read_image
from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.networks.weights_file import check_weights_file
from tag2mask.tasks.tags.formats import read_tags
from tests.breakage.bad_images import bad_images
from tests.breakage.bad_settings import bad_settings
from tests.breakage.bad_tables import bad_tables
from tests.breakage.bad_weights import bad_weights
from tests.breakage.cases import Case, refusal
from tests.breakage.conftest import Tally


def _image(path: Path) -> object:
    return read_image(path, maximum_megapixels=10.0)


def _tags(path: Path) -> object:
    return read_ids(path) if path.suffix == ".txt" else read_tags(path)


Reader = Callable[[Path], object]
KINDS: dict[str, tuple[Callable[[int], Sequence[Case]], int, tuple[Reader, ...], type[Exception]]] = {
    "images": (bad_images, 45, (_image,), BadImage),
    "tables": (bad_tables, 68, (_tags,), BadTable),
    "settings": (bad_settings, 78, (load_config,), ConfigError),
    "weights": (bad_weights, 25, (check_weights_file, read_state), WeightsError),
}
"""Kind of input -> its generator, the number of its cases, what reads it, and the error that is wanted."""
LONG = [pytest.param(seed, marks=pytest.mark.breakage) for seed in range(2, 6)]


@pytest.mark.parametrize("seed", [1, *LONG])
@pytest.mark.parametrize("kind", KINDS)
def test_every_broken_input_is_refused_with_the_error_that_is_wanted(
    tmp_path: Path, kind: str, seed: int, survived: Tally
) -> None:
    """Each of the drawn files is refused by the error of its kind, which names the file and what is wrong with it."""
    generate, count, readers, error = KINDS[kind]
    cases = generate(seed)
    assert len({case.name for case in cases}) == len(cases) == count
    for case in cases:
        path = tmp_path / (case.file or "weights.pth")
        path.write_bytes(case.content)
        for read in readers:
            message = refusal(read, path, (error,))
            assert re.search(case.reported, message), f"{case.name}: {message}"
    survived(f"broken {kind}, each refused with the error that is wanted", len(cases))
