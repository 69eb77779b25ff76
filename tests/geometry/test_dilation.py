"""Binary volumes grow by faces or by corners, and not around the edge of the volume."""

from __future__ import annotations

import torch

from strokelabel.geometry.crop import dilate_box, dilate_cross


def point(*where, shape=(7, 9, 8)):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[where] = True
    return mask


def test_a_point_grows_into_a_cross_of_7_voxels_and_a_box_of_27():
    cross, box = dilate_cross(point(3, 4, 5)), dilate_box(point(3, 4, 5))

    assert cross.sum() == 7 and cross[2, 4, 5] and cross[3, 4, 6] and not cross[2, 3, 5]
    assert box.sum() == 27 and box[2, 3, 4] and box[4, 5, 6]


def test_what_grows_out_of_the_volume_does_not_come_back_on_the_other_side():
    assert dilate_cross(point(0, 0, 0)).sum() == 4
    assert dilate_box(point(6, 8, 7)).sum() == 8


def test_the_argument_stays_as_it_was():
    mask = point(1, 1, 1)
    dilate_box(dilate_cross(mask))

    assert mask.sum() == 1
