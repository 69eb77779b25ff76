"""A mask follows the annotator: towards what was pointed at, nowhere else, and never against what was painted."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from strokelabel.errors import DimensionError, LabelMapError, OptionError, StrokeLabelError
from strokelabel.inference.refine import (
    AddRegion,
    Click,
    Prompts,
    RefineOptions,
    RemoveIsland,
    Scribbles,
    painted_labels,
    refine,
)
from strokelabel.inference.refine.prompts import Prompt, Voxel
from strokelabel.io import Image
from strokelabel.metrics import dice, lesion_volumes_ml
from support.bright_network import BRAIN, centred_affine, phantom, rotation

SHAPE = (34, 41, 29)
LESION_MM = (6.0, -9.0, 4.0)


def scan(
    matrix: np.ndarray | None = None, shape: Voxel = SHAPE, radius_mm: float = 9.0, noise: float = 8.0
) -> tuple[Image, np.ndarray]:
    affine = centred_affine(
        rotation((8, -5, 12)) @ np.diag([1.7, 1.5, 2.1]) if matrix is None else matrix, shape
    )
    image, ball = phantom(shape, affine, LESION_MM, radius_mm)
    noisy = image.data + np.random.default_rng(5).normal(0, noise, shape)
    return Image(noisy.astype(np.float32), affine), ball


def center(ball: np.ndarray) -> Voxel:
    i, j, k = (round(x) for x in np.argwhere(ball).mean(axis=0))
    return i, j, k


def empty(shape: Voxel = SHAPE) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def distance_mm(image: Image, voxel: Voxel) -> np.ndarray:
    indices = np.stack(np.meshgrid(*map(np.arange, image.data.shape), indexing="ij"), axis=-1)
    return np.linalg.norm((indices - np.array(voxel)) @ image.affine[:3, :3].T, axis=-1)


def test_a_lesion_click_on_an_empty_mask_finds_the_lesion() -> None:
    image, ball = scan()
    found = refine(image, empty(), Prompts((Click(center(ball), lesion=True),)))
    assert found.dtype == np.uint8 and found.shape == SHAPE and set(np.unique(found)) == {0, 1}
    assert dice(ball, found) > 0.8


def test_a_click_that_says_not_lesion_takes_back_what_is_no_lesion_and_leaves_what_is() -> None:
    image, ball = scan()
    far = np.argwhere(ball)[:, 0].max() + 3
    mask = ball.copy()
    mask[far - 4 : far + 4, 12:22, 10:20] |= image.data[far - 4 : far + 4, 12:22, 10:20] < (BRAIN + 300) / 2
    outside = np.argwhere(mask & ~ball)
    i, j, k = (int(x) for x in outside[np.argmax(outside[:, 0])])
    found = refine(image, mask, Prompts((Click((i, j, k), lesion=False),)))
    assert dice(ball, found) > dice(ball, mask) + 0.03
    assert dice(ball, found & ball) > 0.9


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (0.6, 0.6, 0.6), (6.0, 0.9, 0.9), (3.0, 3.0, 3.0)])
def test_voxels_of_any_size_are_corrected_over_the_same_millimetres(spacing: tuple[float, ...]) -> None:
    shape = tuple(int(np.ceil(60 / mm)) for mm in spacing)
    image, ball = scan(np.diag(spacing), shape)
    found = refine(image, empty(shape), Prompts((Click(center(ball), lesion=True),)))
    assert dice(ball, found) > 0.75


def test_orientation_does_not_matter() -> None:
    image, ball = scan(np.diag([1.7, 1.5, 2.1]))
    i, j, k = center(ball)
    expected = refine(image, empty(), Prompts((Click((i, j, k), lesion=True),)))
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(SHAPE[:2]) - 1
    data = np.ascontiguousarray(image.data[::-1, ::-1].transpose(2, 0, 1))
    turned = Image(data, image.affine @ flip[:, [2, 0, 1, 3]])
    click = Click((k, SHAPE[0] - 1 - i, SHAPE[1] - 1 - j), lesion=True)
    found = refine(turned, empty((SHAPE[2], SHAPE[0], SHAPE[1])), Prompts((click,)))
    assert dice(expected, found.transpose(1, 2, 0)[::-1, ::-1]) > 0.99


def test_clicks_in_the_corners_and_at_the_edges_of_the_grid_are_prompts_like_others() -> None:
    image, ball = scan()
    for corner in product(*[(0, n - 1) for n in SHAPE]):
        for lesion in (True, False):
            found = refine(image, ball, Prompts((Click(corner, lesion),)))
            assert found[corner] == lesion


def test_nothing_beyond_the_reach_of_a_prompt_changes() -> None:
    image, ball = scan(np.diag([2.0, 2.0, 2.0]), radius_mm=16.0)
    voxel = center(ball)
    options = RefineOptions(reach_mm=9.0)
    for start, lesion in ((empty(), True), (ball, False)):
        found = refine(image, start, Prompts((Click(voxel, lesion),)), options=options)
        changed = found != start
        assert changed.any() and distance_mm(image, voxel)[changed].max() <= 9.0 + 2.0


@settings(max_examples=5, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_is_painted_holds_in_this_round_and_in_the_next(data: st.DataObject) -> None:
    image, ball = scan()
    voxels = st.tuples(*[st.integers(0, n - 1) for n in SHAPE])
    kept = empty()
    for voxel, value in data.draw(st.lists(st.tuples(voxels, st.sampled_from((1, 2))), max_size=6)):
        kept[voxel] = value
    strokes = empty()
    i, j, k = data.draw(voxels)
    strokes[i, j, max(0, k - 5) : k + 5] = data.draw(st.sampled_from((1, 2)))
    prompts: list[Prompt] = [Scribbles(strokes), AddRegion(data.draw(voxels))]
    prompts += [
        Click(v, lesion) for v, lesion in data.draw(st.lists(st.tuples(voxels, st.booleans()), max_size=3))
    ]
    given_prompts = Prompts(tuple(data.draw(st.permutations(prompts))), kept)
    painted = painted_labels(given_prompts, SHAPE)
    found = refine(image, ball, given_prompts)
    assert (found[painted == 1] == 1).all() and (found[painted == 2] == 0).all()
    again = refine(image, found, Prompts((Click(data.draw(voxels), data.draw(st.booleans())),), painted))
    last = painted_labels(Prompts((), painted), SHAPE)
    changed = again != found
    assert (changed & (last > 0)).sum() <= 1


def test_the_later_of_two_prompts_about_a_voxel_holds() -> None:
    image, ball = scan()
    voxel = center(ball)
    for lesion in (True, False):
        prompts = Prompts((Click(voxel, not lesion), Click(voxel, lesion)))
        assert refine(image, ball, prompts)[voxel] == lesion


def test_lesion_prompts_only_add_and_others_only_remove() -> None:
    image, ball = scan()
    half = ball.copy()
    half[center(ball)[0] :] = False
    missed = np.argwhere(ball & ~half)
    grown = refine(
        image, half, Prompts((Click(tuple(int(x) for x in missed[len(missed) // 2]), lesion=True),))
    )
    assert (grown >= half).all() and grown.sum() > half.sum()
    shrunk = refine(image, ball, Prompts((Click(center(ball), lesion=False),)))
    assert (shrunk <= ball).all() and shrunk.sum() < ball.sum()


def test_strokes_do_what_clicks_do() -> None:
    image, ball = scan()
    i, j, k = center(ball)
    strokes = empty()
    strokes[i - 2 : i + 3, j, k] = 1
    strokes[2:9, 20, 14] = 2
    found = refine(image, empty(), Prompts((Scribbles(strokes),)))
    assert dice(ball, found) > 0.8 and not found[strokes == 2].any()


def test_many_strokes_at_once_are_taken_together() -> None:
    image, ball = scan(radius_mm=12.0)
    strokes = empty()
    for voxel in np.argwhere(ndimage.binary_erosion(ball, iterations=3))[::23]:
        strokes[tuple(voxel)] = 1
    found = refine(image, empty(), Prompts((Scribbles(strokes),)))
    assert dice(ball, found) > 0.8 and found[strokes == 1].all()


def test_a_probability_map_leads_where_intensities_do_not() -> None:
    image, ball = scan(noise=8.0)
    flat = Image(np.random.default_rng(1).normal(100, 8, SHAPE).astype(np.float32), image.affine)
    click = Prompts((Click(center(ball), lesion=True),))
    found = refine(flat, empty(), click, np.where(ball, 0.9, 0.02).astype(np.float32))
    assert dice(ball, found) > dice(ball, refine(flat, empty(), click)) + 0.1


def test_an_empty_probability_map_does_no_harm() -> None:
    image, ball = scan()
    click = Prompts((Click(center(ball), lesion=True),))
    assert dice(ball, refine(image, empty(), click, np.zeros(SHAPE, np.float32))) > 0.8


def test_an_island_is_removed_by_a_click_on_it_or_close_to_it() -> None:
    image, ball = scan()
    mask = ball.astype(np.uint8)
    mask[25:28, 25:28, 25:27] = 1
    mask[28, 28, 27] = 1  # joined by a corner
    for voxel in ((26, 26, 26), (28, 28, 27), (24, 26, 26)):
        np.testing.assert_array_equal(refine(image, mask, Prompts((RemoveIsland(voxel),))), ball)


def test_removing_an_island_leaves_what_was_painted_as_lesion() -> None:
    image, ball = scan()
    kept = empty()
    kept[center(ball)] = 1
    found = refine(image, ball, Prompts((RemoveIsland(center(ball)),), kept))
    np.testing.assert_array_equal(found, kept)


def test_a_region_is_added_by_intensity_and_bounded_by_its_volume() -> None:
    image, ball = scan()
    found = refine(image, empty(), Prompts((AddRegion(center(ball)),)))
    assert dice(ball, found) > 0.85
    limit = RefineOptions(region_volume_ml=0.3)
    small = refine(image, empty(), Prompts((AddRegion(center(ball)),)), options=limit)
    assert 0 < lesion_volumes_ml(small, image.grid.voxel_volume_ml).sum() <= 0.3


def test_a_region_is_added_where_a_lesion_is_probable() -> None:
    image, _ = scan()
    box = np.zeros(SHAPE, np.float32)
    box[4:9, 5:11, 6:12] = 0.3
    found = refine(image, empty(), Prompts((AddRegion((6, 8, 9)),)), box)
    np.testing.assert_array_equal(found, box > 0)


def test_a_click_in_a_constant_part_of_a_scan_is_still_kept() -> None:
    data = np.zeros(SHAPE, np.float32)
    data[-1, -1, -1] = 1
    image = Image(data, np.eye(4))
    for prompt in (Click((3, 4, 5), lesion=True), AddRegion((3, 4, 5))):
        assert refine(image, empty(), Prompts((prompt,)))[3, 4, 5] == 1


def test_the_mask_that_comes_in_is_left_as_it_is_and_no_prompts_change_nothing() -> None:
    image, ball = scan()
    before = ball.copy()
    refine(image, ball, Prompts((Click((3, 3, 3), lesion=True), Click(center(ball), lesion=False))))
    np.testing.assert_array_equal(ball, before)
    np.testing.assert_array_equal(refine(image, ball, Prompts(())), ball)


BAD: list[tuple[Prompts, dict[str, np.ndarray], type[StrokeLabelError], str]] = [
    (Prompts((Click((34, 0, 0), lesion=True),)), {}, OptionError, "inside the scan"),
    (Prompts((AddRegion((0, -1, 0)),)), {}, OptionError, "inside the scan"),
    (Prompts((RemoveIsland((1.5, 0, 0)),)), {}, OptionError, "whole numbers"),  # type: ignore[arg-type]
    (Prompts((RemoveIsland((1, 1, 1)),)), {}, OptionError, "within 3 mm"),
    (Prompts((Scribbles(np.zeros((3, 4, 5), np.uint8)),)), {}, DimensionError, "grid"),
    (Prompts((Scribbles(np.full(SHAPE, 3, np.uint8)),)), {}, LabelMapError, "painted labels 0"),
    (Prompts((), np.zeros((3, 4, 5), np.uint8)), {}, DimensionError, "grid"),
    (Prompts(()), {"mask": np.zeros((3, 4, 5))}, DimensionError, "grid"),
    (Prompts(()), {"mask": np.full(SHAPE, 2)}, LabelMapError, "0 and 1"),
    (Prompts(()), {"probability": np.zeros((3, 4, 5))}, DimensionError, "grid"),
    (Prompts(()), {"probability": np.full(SHAPE, np.nan)}, LabelMapError, "0 to 1"),
]


@pytest.mark.parametrize(("prompts", "arrays", "error", "words"), BAD)
def test_what_does_not_fit_is_refused_in_one_sentence(
    prompts: Prompts, arrays: dict[str, np.ndarray], error: type[StrokeLabelError], words: str
) -> None:
    image, _ = scan()
    with pytest.raises(error, match=words):
        refine(image, arrays.get("mask", empty()), prompts, arrays.get("probability"))


@pytest.mark.parametrize("change", [{"reach_mm": 0}, {"region_threshold": 1.0}, {"max_voxels": float("nan")}])
def test_limits_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        RefineOptions(**change)
