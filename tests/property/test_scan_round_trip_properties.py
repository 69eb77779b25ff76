"""The law that users rely on: whatever grid a scan comes on, its result is written on that very grid."""

import itertools
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strokelabel.geometry import CanonicalGrid
from strokelabel.io import read_image, write_nifti

LAW = settings(derandomize=True, deadline=None, max_examples=100)
DIRECTIONS = [
    np.eye(3)[list(order)] * flips
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1.0, -1.0), repeat=3)
]


@st.composite
def scans(draw):
    """A NIfTI image with any axis order, type, scale and transform codes."""
    shape = draw(st.lists(st.integers(4, 12), min_size=3, max_size=3, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    affine = np.eye(4)
    angles = [draw(st.floats(-25, 25)) for _ in range(3)]
    spacing = [draw(st.sampled_from([0.5, 0.9375, 1.0, 2.0, 5.5])) for _ in range(3)]
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = rotation @ draw(st.sampled_from(DIRECTIONS)) * spacing
    affine[:3, 3] = rng.uniform(-150, 150, 3)
    dtype = draw(st.sampled_from([np.uint8, np.int16, np.float32]))
    image = nib.Nifti1Image(rng.integers(0, 200, shape).astype(dtype), affine)
    image.header["sform_code"] = draw(st.sampled_from([0, 1, 2, 4]))
    image.header["qform_code"] = draw(st.sampled_from([0, 1, 2, 4]))
    if dtype is not np.float32:
        image.header.set_slope_inter(draw(st.sampled_from([1, 0.125])), draw(st.sampled_from([0, -8])))
    return nib.Nifti1Image(image.dataobj, None, image.header)


@LAW
@given(scans())
def test_a_result_made_on_the_canonical_grid_is_written_on_the_input_grid(scan):
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "scan.nii.gz", Path(folder) / "mask.nii.gz"
        nib.save(scan, path)
        image = read_image(path)
        plan = CanonicalGrid.for_image(image.data.shape, image.affine)
        mask = plan.inverse_labels((plan.forward(image.data) > image.data.mean()).astype(np.uint8))
        write_nifti(result, mask, image, np.uint8)

        before, after = nib.load(path), nib.load(result)
        assert after.shape == before.shape
        np.testing.assert_array_equal(after.affine, before.affine)
        for name in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
            np.testing.assert_array_equal(after.header[name], before.header[name])
        np.testing.assert_array_equal(after.header["pixdim"][:4], before.header["pixdim"][:4])
        np.testing.assert_array_equal(np.asarray(after.dataobj), mask)
