"""The convention of co-saliency evaluation against a slow version of it, and what it refuses."""

import numpy as np
import pytest

from tag2mask.tasks.metrics.cosaliency_protocol import CosaliencyProtocol, CosaliencyResult, measure_map
from tag2mask.tasks.metrics.structure_measure import structure_measure

Maps = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def drawn(seed: int = 0) -> Maps:
    """Maps and masks of three groups of unlike sizes; one mask is empty, one map flat."""
    rng = np.random.default_rng(seed)
    maps: Maps = {}
    for group, count in (("ant", 4), ("bee", 2), ("cow", 1)):
        for number in range(count):
            salient = rng.random((11, 13)) < 0.3
            soft = np.clip(0.6 * salient + 0.5 * rng.random((11, 13)) - 0.1, 0, 1)
            maps[group, str(number)] = ((soft * 255).astype(np.uint8), salient * np.uint8(255))
    maps["ant", "0"][1][:] = 0
    maps["bee", "1"][0][:] = 77
    return maps


def expectation(maps: Maps) -> dict[str, list[str]]:
    return {group: [image_id for other, image_id in maps if other == group] for group, _ in maps}


def measured(maps: Maps) -> CosaliencyResult:
    protocol = CosaliencyProtocol(expectation(maps))
    for (group, image_id), (soft, salient) in maps.items():
        protocol.step(group, image_id, soft, salient)
    return protocol.result()


def slow(soft: np.ndarray, salient: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Error, structure, and curves of E and F of one image, threshold by threshold and pixel by pixel."""
    raw, mask = soft / 255, salient > 127
    full = (raw - raw.min()) / (raw.max() - raw.min() + 1e-20)
    e_curve, f_curve = [], []
    for threshold in np.linspace(0, 1 - 1e-10, 255):
        passed = full >= threshold
        hits = (passed & mask).sum()
        precision, recall = hits / (passed.sum() + 1e-20), hits / (mask.sum() + 1e-20)
        f_curve.append(1.3 * precision * recall / (0.3 * precision + recall) if hits else 0.0)
        if mask.any():
            a, b = passed - passed.mean(), mask - mask.mean()
            enhanced = (1 + 2 * a * b / (a**2 + b**2 + 1e-20)) ** 2 / 4
        else:
            enhanced = 1.0 - passed
        e_curve.append(enhanced.sum() / (mask.size - 1 + 1e-20))
    return float(np.abs(raw - mask).mean()), structure_measure(full, mask), np.array(e_curve), np.array(f_curve)


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_the_slow_convention(seed: int) -> None:
    """Raw error, and S, E and F of stretched maps at 255 thresholds, over all images and in every group."""
    maps = drawn(seed)
    result = measured(maps)
    every = {key: slow(*pair) for key, pair in maps.items()}
    sets = [(result.images, list(every.values()))]
    sets += [(result.by_group[g], [one for key, one in every.items() if key[0] == g]) for g in ("ant", "bee", "cow")]
    for scores, chosen in sets:
        error, structure, e_curve, f_curve = (sum(parts) / len(chosen) for parts in zip(*chosen, strict=True))
        assert scores.mae == pytest.approx(error, abs=1e-9) and scores.s_measure == pytest.approx(structure, abs=1e-9)
        assert (scores.max_e, scores.mean_e) == pytest.approx((e_curve.max(), e_curve.mean()), abs=1e-9)
        assert (scores.max_f, scores.mean_f) == pytest.approx((f_curve.max(), f_curve.mean()), abs=1e-9)
        assert scores.images == len(chosen)
    assert (result.groups.images, result.groups.empty_targets) == (7, 1)


def test_groups_weigh_the_same() -> None:
    """The mean over groups is that of their figures, while the figure of all images follows the large group."""
    result = measured(drawn())
    for name in ("mae", "s_measure", "max_e", "mean_e", "max_f", "mean_f"):
        by_group = [getattr(scores, name) for scores in result.by_group.values()]
        assert getattr(result.groups, name) == pytest.approx(np.mean(by_group))
    assert result.images.mae != pytest.approx(result.groups.mae)


def test_contrast_counts_in_the_error_alone() -> None:
    """A right map of a tenth of the contrast is perfect but for its error."""
    salient = np.zeros((8, 8), bool)
    salient[2:6, 2:6] = True
    protocol = CosaliencyProtocol({"ant": ["a"]})
    protocol.step("ant", "a", salient * 0.1, salient)
    scores = protocol.result().images
    assert scores.mae == pytest.approx(0.9 / 4)
    assert (scores.s_measure, scores.max_f, scores.max_e) == pytest.approx((1, 1, 64 / 63), abs=1e-9)


def test_void_pixels_change_nothing() -> None:
    """Whatever map and mask say where nothing is measured, no figure moves; error, E and F are those of the rest."""
    rng = np.random.default_rng(4)
    (soft, salient), known = drawn(4)["cow", "0"], rng.random((11, 13)) < 0.7
    first = measure_map(np.where(known, soft, 0).astype(np.uint8), np.where(known, salient, 0), known)
    for value, said in ((255, 255), (90, 0)):
        other = np.where(known, soft, value).astype(np.uint8), np.where(known, salient, said).astype(np.uint8)
        again = measure_map(*other, known)
        assert (again.errors, again.structures) == (first.errors, first.structures)
        np.testing.assert_array_equal(again.f, first.f)
        np.testing.assert_array_equal(again.alignment, first.alignment)
    error, _, e_curve, f_curve = slow(soft[known][None], salient[known][None])
    assert first.errors == pytest.approx(error)
    np.testing.assert_allclose(first.f, f_curve, atol=1e-9)
    np.testing.assert_allclose(first.alignment, e_curve, atol=1e-9)
    with pytest.raises(ValueError, match="and not none of them"):
        measure_map(soft, salient, np.zeros_like(known))


def test_missing_and_strange_maps_are_named() -> None:
    """A map that is missing, unexpected, repeated, of another size, or a 0/1 mask is named by group and image."""
    flat, mask = np.zeros((4, 5), np.uint8), np.zeros((4, 5), bool)
    protocol = CosaliencyProtocol({"ant": ["a", "b", "c"]})
    protocol.step("ant", "a", flat, mask)
    for group, image_id in (("ant", "a"), ("bee", "a")):
        with pytest.raises(ValueError, match=f"{group}/{image_id}: is not among the maps that are expected"):
            protocol.step(group, image_id, flat, mask)
    with pytest.raises(ValueError, match=r"ant/b: the saliency map has shape \(4, 5\), the target \(5, 4\)"):
        protocol.step("ant", "b", flat, mask.T)
    with pytest.raises(ValueError, match="ant/b: a mask of salient objects as uint8 must be 0 and 255"):
        protocol.step("ant", "b", flat, np.eye(4, 5, dtype=np.uint8))
    with pytest.raises(ValueError, match="2 co-saliency maps are missing, make them first: ant/b, ant/c"):
        protocol.result()
    with pytest.raises(ValueError, match="there is no image"):
        CosaliencyProtocol({}).result()
