"""Slabs: a slice and its lesion go the same way, and nothing changes along the third axis but noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.appearance import Recolouring
from strokelabel.fit.data.real_images.config import RecolouringConfig, SlabConfig
from strokelabel.fit.data.real_images.preparation import RealImages
from strokelabel.fit.data.real_images.slabs import (
    SlabParameters,
    SlabShape,
    SlabStream,
    render_slab,
    sample_slab,
)
from strokelabel.synthesis.sampling import Sampler

SHAPE, SPACING_MM = (56, 72, 48), 3.0


@pytest.fixture(scope="module")
def images(prepared_folder: Path) -> RealImages:
    return RealImages.load(prepared_folder)


def make_stream(images: RealImages, seed: int = 3, **changes: object) -> SlabStream:
    config = SlabConfig(**({"count": 2, "thickness_voxels": 16} | changes))
    return SlabStream(images.slices, config, SHAPE, SPACING_MM, 5, seed)


def still(parameters: SlabParameters, depth: int) -> SlabParameters:
    """The same slab without any change of geometry or intensities but the field."""
    quiet = replace(
        parameters.appearance,
        recolouring=Recolouring("none", 1.0, None, None),
        coil=None,
        field=torch.zeros(2, 2),
        blur=False,
        noise_deviation=0.0,
    )
    return SlabParameters(0.0, (1.0, 1.0), False, (0.0, 0.0), 0, depth, quiet)


def draw(shape: SlabShape, seed: int = 0, **changes: object) -> SlabParameters:
    return sample_slab(Sampler(seed), SlabConfig(**changes), shape, 16, SPACING_MM)


def square(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A grey slice with a bright square off its middle, and the square as a lesion."""
    image, lesion = (
        torch.full((rows, columns), 100, dtype=torch.uint8),
        torch.zeros(rows, columns, dtype=torch.bool),
    )
    lesion[70:90, 30:45] = True
    image[lesion] = 220
    image[:4], image[-4:] = 0, 0
    return image, lesion


@pytest.mark.parametrize(("view", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_a_slab_repeats_its_slice_along_the_third_axis(view: str, axis: int, images: RealImages) -> None:
    shape = SlabShape(view, full_view=False)
    voxels = shape.voxels(SHAPE, 16)
    assert voxels[axis] == 16 and sorted(voxels) == sorted([16, *SHAPE[:axis], *SHAPE[axis + 1 :]])
    image, lesion = square(118, 102)

    slab, mask = render_slab(image, lesion, still(draw(shape), 16), shape, voxels, SPACING_MM)

    assert tuple(slab.shape) == tuple(mask.shape) == voxels
    first = slab.select(axis, 0)
    assert all(torch.equal(slab.select(axis, place), first) for place in range(16))
    assert torch.equal(slab > slab[mask].amin() - 0.05, mask), "the lesion is where the image is bright"


def test_rotation_zoom_mirror_and_shift_move_image_and_lesion_alike() -> None:
    shape = SlabShape("axial", full_view=False)
    voxels = shape.voxels(SHAPE, 16)
    image, lesion = square(118, 142)
    for seed in range(4):
        moved = replace(
            still(draw(shape, seed), 16), **{
                name: getattr(draw(shape, seed), name)
                for name in ("rotation_degrees", "zoom", "mirror", "translation_mm")
            }
        )  # fmt: skip
        slab, mask = render_slab(image, lesion, moved, shape, voxels, SPACING_MM)
        bright = slab > slab.amax() - 0.5 * (slab.amax() - slab.median())
        agreement = 2 * (bright & mask).sum() / (bright.sum() + mask.sum())
        assert agreement > 0.85
        area = mask[..., 0].sum() * SPACING_MM**2
        expected = 20 * 15 * (4 / 3) ** 2 * moved.zoom[0] * moved.zoom[1]
        assert area == pytest.approx(expected, rel=0.2)


def test_a_mirrored_slab_has_its_lesion_on_the_other_side() -> None:
    shape = SlabShape("axial", full_view=False)
    image, lesion = square(118, 142)
    plain = still(draw(shape), 16)
    masks = [
        render_slab(image, lesion, replace(plain, mirror=mirror), shape, shape.voxels(SHAPE, 16), SPACING_MM)[
            1
        ]
        for mirror in (False, True)
    ]
    assert torch.equal(masks[0].flip(0), masks[1])
    assert not draw(SlabShape("sagittal", full_view=False), mirror_probability=1.0).mirror, (
        "a side view has one side"
    )


def test_beyond_the_filled_part_there_is_neither_signal_nor_lesion() -> None:
    shape = SlabShape("coronal", full_view=True)
    voxels = shape.voxels(SHAPE, 16)
    assert voxels == SHAPE, "the full field of view"
    image, lesion = square(118, 102)
    part = replace(still(draw(shape), 16), first=10, filled=7)
    slab, mask = render_slab(image, lesion, part, shape, voxels, SPACING_MM)
    outside = torch.cat([slab[:, :10], slab[:, 17:]], dim=1)
    assert torch.allclose(outside, outside.amin()) and slab[:, 10:17].amax() > outside.amin() + 1
    assert mask[:, 10:17].any() and not mask[:, :10].any() and not mask[:, 17:].any()


def test_batches_are_pure_functions_of_their_step(images: RealImages) -> None:
    stream, again = make_stream(images), make_stream(images)
    batches = [stream.batch(step) for step in range(4)]
    for step in (3, 0, 2, 1):
        other = again.batch(step)
        assert torch.equal(other.image, batches[step].image) and torch.equal(
            other.target, batches[step].target
        )
    assert not torch.equal(make_stream(images, seed=4).batch(0).image, batches[0].image)
    for batch in batches:
        assert batch.partial.all() and batch.target.unique().tolist() in ([0], [0, 5])
        assert batch.image.isfinite().all()
        assert batch.image.mean().abs() < 1e-3


def test_views_and_slices_with_lesion_come_as_often_as_they_should(images: RealImages) -> None:
    stream = make_stream(images, views={"axial": 3, "sagittal": 1}, full_view_probability=0.5)
    shapes = [stream.batch_shape(step) for step in range(400)]
    assert sum(shape.view == "axial" for shape in shapes) == pytest.approx(300, abs=30)
    assert sum(shape.full_view for shape in shapes) == pytest.approx(200, abs=40)
    drawn = [stream.sample(step, 0)[1][0].index for step in range(400)]
    # A third of the slices has no lesion; it is taken in 0.3 of the draws, or after three of them.
    free = sum(0.3 * (0.7 / 3) ** k / 3 for k in range(3)) + (0.7 / 3) ** 3
    assert sum(index == 2 for index in drawn) == pytest.approx(400 * free, abs=35)


def test_a_stack_holds_several_slices_one_after_another_and_no_air_between_them(images: RealImages) -> None:
    stream = make_stream(images, views={"coronal": 1}, stack_probability=1.0, full_view_probability=0.0)

    shape, parts = stream.sample(5, 1)
    slab, mask = stream.render(5, 1)

    assert [part.depth for part in parts] == [6, 5, 5]
    assert all((part.parameters.first, part.parameters.filled) == (0, part.depth) for part in parts)
    assert len({part.parameters.rotation_degrees for part in parts}) == 3
    assert tuple(slab.shape) == tuple(mask.shape) == shape.voxels(SHAPE, 16)
    within = [(slab[:, k] - slab[:, k + 1]).abs().mean() for k in (0, 3, 7, 9, 12, 14)]
    across = [(slab[:, k] - slab[:, k + 1]).abs().mean() for k in (5, 10)]
    assert min(across) > 1.5 * max(within)


def test_a_view_without_slices_is_named(images: RealImages) -> None:
    axial = [part for part in images.slices if part.view == "axial"]
    with pytest.raises(DataError, match="slices of the view 'coronal'"):
        SlabStream(axial, SlabConfig(), SHAPE, SPACING_MM, 5, 0)
    only = SlabConfig(views={"axial": 1, "coronal": 0})
    assert SlabStream(axial, only, SHAPE, SPACING_MM, 5, 0).batch_shape(0).view == "axial"


def test_settings_that_cannot_be_drawn_from_are_refused() -> None:
    with pytest.raises(ValueError, match="one of them above 0"):
        RecolouringConfig(kinds={"any": 0})
    with pytest.raises(ValueError, match="low <= high"):
        SlabConfig(zoom=(1.2, 0.9))
    with pytest.raises(ValueError, match="forbidden"):
        SlabConfig(thickness=32)
