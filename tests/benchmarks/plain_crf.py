"""The dense CRF as the public code of NSROM runs it: pydensecrf over all classes, one image at a time.

One of its habits is left out, on both sides: it hands over mean-subtracted colors whose negative values wrap.
pydensecrf is C++ and none of the project's dependencies: who wants the comparison installs it.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.plain_labels import write_palette_png


def refine_file(name: str, image: Path, scores: Path, out: Path) -> None:
    """Write <out>/<name>.png from an image and (C + 1, h, w) float32 probabilities of all classes in an .npy file."""
    with Image.open(image) as file:
        pixels = np.array(file.convert("RGB"))
    probabilities = np.stack([_enlarged(plane, pixels.shape[:2]) for plane in np.load(scores)])
    write_palette_png(out / f"{name}.png", marginals(pixels, probabilities).argmax(axis=0).astype(np.uint8))


def marginals(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Marginals (K, H, W) float32 of an image (H, W, 3) uint8 with probabilities (K, H, W) float32, by pydensecrf."""
    from pydensecrf.densecrf import DenseCRF2D

    count, height, width = probabilities.shape
    field = DenseCRF2D(width, height, count)
    energy = -np.log(np.clip(probabilities, 1e-5, 1))
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(count, -1)))
    field.addPairwiseGaussian(sxy=1, compat=3)
    field.addPairwiseBilateral(sxy=67, srgb=3, rgbim=np.ascontiguousarray(image), compat=4)
    return np.array(field.inference(10), np.float32).reshape(count, height, width)


def _enlarged(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR))
