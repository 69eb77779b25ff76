"""Contact sheets, read back from their PNG files: what lies where, and what is outlined."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from strokelabel.errors import OutputError
from strokelabel.reports.contact_sheet import best_slice, make_panel, save_contact_sheet

SHAPE = (30, 40, 20)


def draw(path, *panels, columns=1):
    """Red, green and blue (row, column, 3) of a sheet in [0, 1]."""
    save_contact_sheet(panels, path, columns)
    return imread(path)[..., :3]


def centre_of(mask):
    """Mean row and column, from -1 (top, left) to 1 (bottom, right)."""
    rows, columns = np.nonzero(mask)
    return 2 * rows.mean() / mask.shape[0] - 1, 2 * columns.mean() / mask.shape[1] - 1


def test_the_patient_s_left_is_on_the_right_and_the_front_at_the_top(tmp_path):
    image = np.full(SHAPE, 0.3, dtype=np.float32)
    image[2:10, 28:36, :] = 1.0  # canonical RAS: small x is the patient's left, large y the front

    pixels = draw(tmp_path / "sheet.png", make_panel(image, {}, ""))

    row, column = centre_of(pixels.min(axis=2) > 0.9)
    assert row < -0.2 and column > 0.2


def test_outlines_lie_around_their_mask_on_the_same_side(tmp_path):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:10, 28:36, 7] = True
    image = np.where(mask, 1.0, 0.3).astype(np.float32)

    pixels = draw(tmp_path / "sheet.png", make_panel(image, {"red": mask}, ""))

    red = (pixels[..., 0] > 0.8) & (pixels[..., 1] < 0.3)
    assert red.sum() > 30
    bright = (pixels.min(axis=2) > 0.9)[..., None][..., 0]
    np.testing.assert_allclose(centre_of(red), centre_of(bright), atol=0.03)


def test_a_second_outline_has_its_own_colour(tmp_path):
    masks = {name: np.zeros(SHAPE, dtype=bool) for name in ("lime", "red")}
    masks["lime"][3:9, 10:20, 7] = True
    masks["red"][20:28, 10:20, 7] = True

    pixels = draw(tmp_path / "sheet.png", make_panel(np.zeros(SHAPE, np.float32), masks, ""))

    lime = (pixels[..., 1] > 0.8) & (pixels[..., 0] < 0.3)
    red = (pixels[..., 0] > 0.8) & (pixels[..., 1] < 0.3)
    assert centre_of(red)[1] < -0.2 < 0.2 < centre_of(lime)[1]


def test_the_slice_with_most_of_the_mask_is_shown():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5:8, 5:8, 3] = True
    mask[5:9, 5:9, 11] = True
    image = np.broadcast_to(np.arange(20, dtype=np.float32), SHAPE)

    panel = make_panel(image, {"red": mask, "lime": ~mask}, "title")

    assert (panel.picture == 11).all() and panel.picture.shape == (30, 40)
    np.testing.assert_array_equal(panel.outlines["red"], mask[:, :, 11])
    np.testing.assert_array_equal(panel.outlines["lime"], ~mask[:, :, 11])
    assert best_slice(mask, 20) == 11


def test_without_a_mask_the_slice_lies_a_little_above_the_middle():
    assert best_slice(None, 20) == 11
    assert best_slice(np.zeros(SHAPE, dtype=bool), 20) == 11
    assert make_panel(np.zeros(SHAPE, np.float32), {}, "").picture.shape == (30, 40)


def test_grey_values_are_those_of_the_volume_and_not_of_the_slice(tmp_path):
    image = np.zeros(SHAPE, dtype=np.float32)
    image[:, :, 11] = 0.5
    image[:, :, 0] = 1.0

    panel = make_panel(image, {}, "")

    assert panel.window == (0.0, 1.0)
    pixels = draw(tmp_path / "sheet.png", panel)
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    np.testing.assert_allclose(middle, 0.5, atol=0.02)


def test_a_panel_keeps_no_volume_in_memory():
    panel = make_panel(np.zeros(SHAPE, np.float32), {"red": np.zeros(SHAPE, dtype=bool)}, "")
    assert panel.picture.base is None
    assert panel.outlines["red"].base is None


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_images_and_masks_that_fill_the_slice_are_drawn_without_complaint(tmp_path, recwarn, value):
    image = np.full(SHAPE, value, dtype=np.float32)
    draw(tmp_path / "sheet.png", make_panel(image, {"red": np.ones(SHAPE, dtype=bool)}, "full"))
    assert not [warning for warning in recwarn if "contour" in str(warning.message)]


def test_pictures_fill_rows_from_the_left(tmp_path):
    panels = [make_panel(np.full(SHAPE, grey, np.float32), {}, "") for grey in (0.0, 0.0, 0.0)]
    dark = draw(tmp_path / "dark.png", *panels, columns=2)
    image = np.zeros(SHAPE, dtype=np.float32)
    image[::2] = 1.0
    third = draw(tmp_path / "third.png", *panels[:2], make_panel(image, {}, ""), columns=2)
    assert dark.shape == third.shape
    row, column = centre_of(third.mean(axis=2) > 0.9)
    assert row > 0.2 and column < -0.2


def test_a_sheet_of_nothing_is_an_empty_picture(tmp_path):
    assert draw(tmp_path / "sheet.png").max() == 0


def test_missing_folders_are_made_and_a_place_that_cannot_be_is_an_error(tmp_path):
    panel = make_panel(np.zeros(SHAPE, np.float32), {}, "")
    draw(tmp_path / "a" / "b" / "sheet.png", panel)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_contact_sheet([panel], tmp_path / "file" / "sheet.png")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["sheet.png"]
