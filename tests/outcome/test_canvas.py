"""Lesions are painted where they are: left on the left, front up, and back again in ICBM space."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.errors import OptionError
from strokelabel.outcome.networks.canvas import Canvas, pack, stitched_canvas, volume_canvas
from strokelabel.outcome.networks.pictures import region_boxes, region_canvas
from strokelabel.outcome.networks.symbols import SIDE, pentagon, pie
from strokelabel.synthesis.prepared.icbm import icbm_template

BOX = ((58, 140, 100), (27, 18, 14))
"""First voxel and sides of a lesion on the left, in the frontal lobe: x is -40 to -13 mm, y 6 to 24 mm."""


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    return stitched_canvas()


def painted(canvas: Canvas) -> np.ndarray:
    offset, sides = BOX
    return canvas.paint(offset, np.ones(sides, dtype=bool)) - canvas.template


def test_a_lesion_on_the_left_is_on_the_left_of_the_upper_half_of_its_sections(canvas: Canvas) -> None:
    added = painted(canvas)

    rows, columns = canvas.tiles[0].shape
    assert canvas.shape == (8 * rows, 8 * columns)
    sections = added.reshape(8, rows, 8, columns).swapaxes(1, 2).reshape(64, rows, columns)
    hit = np.flatnonzero(sections.max(axis=(1, 2)) > 0.1)
    bottoms = [tile.low[2] for tile in canvas.tiles]
    assert bottoms[hit[0]] == pytest.approx(BOX[0][2], abs=3)
    row, column = np.argwhere(sections[hit].mean(axis=0) > 0.1).mean(axis=0)
    assert column < columns / 2 - 0.5
    assert row < rows / 2


def test_saliency_of_a_painted_lesion_goes_back_to_where_the_lesion_is(canvas: Canvas) -> None:
    back = canvas.to_icbm(painted(canvas))

    assert back.shape == icbm_template().shape
    offset, sides = np.array(BOX)
    where = np.argwhere(back > 0.05)
    assert (where.min(axis=0) >= offset - canvas.tiles[0].mm).all()
    assert (where.max(axis=0) < offset + sides + canvas.tiles[0].mm).all()
    assert np.average(np.argwhere(back > 0), axis=0, weights=back[back > 0]) == pytest.approx(
        offset + sides / 2, abs=2
    )


def test_pixels_are_the_means_of_their_voxels_between_template_and_one(canvas: Canvas) -> None:
    whole = canvas.paint((0, 0, 0), np.ones(icbm_template().shape, dtype=bool))

    assert whole == pytest.approx(np.ones(canvas.shape), abs=1e-4)
    assert canvas.template.max() < 0.6
    assert canvas.template.min() == 0


def test_cells_of_a_volume_hold_the_share_of_lesion_in_their_place() -> None:
    canvas, shape = volume_canvas(8)

    volume = painted(canvas).reshape(shape)

    z, y, x = np.argwhere(volume > 0.2).mean(axis=0)
    assert x < shape[2] / 2
    assert y < shape[1] / 2  # front is first
    assert z * 8 == pytest.approx(BOX[0][2] + BOX[1][2] / 2, abs=8)


def test_regions_lie_in_the_brain_side_by_side_without_overlap() -> None:
    canvas, brain = region_canvas(), icbm_template().brain
    taken = np.zeros(canvas.shape, dtype=int)
    for tile in canvas.tiles:
        rows, columns = tile.shape
        taken[tile.row : tile.row + rows, tile.column : tile.column + columns] += 1

    assert taken.max() == 1
    assert not taken[-SIDE:].any()
    for name, (low, high) in region_boxes():
        inside = brain[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        assert inside.mean() > 0.5, name


def test_a_region_and_its_mirror_image_lie_on_both_sides() -> None:
    boxes = dict(region_boxes())

    (left_low, left_high), (right_low, right_high) = boxes["insula, left"], boxes["insula, right"]
    middle = -icbm_template().affine[0, 3]
    assert left_high[0] < middle < right_low[0]
    assert middle - left_high[0] == right_low[0] - middle
    assert (left_low[1:] == right_low[1:]).all()
    assert (left_high[1:] == right_high[1:]).all()


def test_rectangles_are_packed_within_the_width() -> None:
    sizes = [(4, 9), (12, 5), (7, 7), (12, 6), (3, 3)]
    places, rows = pack(sizes, 20)
    canvas = np.zeros((rows, 20), dtype=int)
    for (row, column), (high, wide) in zip(places, sizes, strict=True):
        canvas[row : row + high, column : column + wide] += 1

    assert canvas.max() == 1
    assert canvas.sum() == sum(high * wide for high, wide in sizes)
    with pytest.raises(OptionError, match="8 columns at most"):
        pack(sizes, 8)
    with pytest.raises(OptionError, match="a multiple of 8 sections"):
        stitched_canvas(sections=63)


@pytest.mark.parametrize(("symbol", "greatest"), [(pentagon, 500), (pie, 100)])
def test_each_symbol_gets_more_ink_the_greater_its_number(symbol: object, greatest: float) -> None:
    assert callable(symbol)
    ink = [float(symbol(value).sum()) for value in np.linspace(0, greatest, 26)]

    assert (np.diff(ink) > 0).all()
    assert symbol(greatest).shape == (SIDE, SIDE)
    assert symbol(greatest).max() <= 1
    assert np.array_equal(symbol(2 * greatest), symbol(greatest))


def test_the_pentagon_stands_on_a_side_and_the_pie_starts_at_the_top() -> None:
    widths = pentagon(400).sum(axis=1)
    inked = widths[widths > 1]
    assert inked[0] < 4
    assert inked[-2] > 10
    quarter = pie(100 * 90 / 330)
    assert quarter[: SIDE // 2, SIDE // 2 :].sum() > 0.9 * quarter.sum()
