import nibabel as nib
import numpy as np
import pytest

SHAPE = (9, 12, 7)
# axes i, j, k run left, superior-anterior and posterior-superior: oblique, unequal spacing
AFFINE = np.array([[-0.9, 0, 0, 31.5], [0, 0.5, -3.6, 12.25], [0, 1.2, 1.5, -40], [0, 0, 0, 1]])


@pytest.fixture
def scan(rng):
    """Integer values like a scanner's, (i, j, k)."""
    return rng.integers(0, 1200, SHAPE).astype(np.int16)


@pytest.fixture
def write_scan(tmp_path, scan):
    """Write data to a NIfTI file and return its path; by default the scan on its oblique grid."""

    def write(data=scan, affine=AFFINE, name="scan.nii.gz", image_type=nib.Nifti1Image):
        path = tmp_path / name
        nib.save(image_type(data, affine), path)
        return path

    return write
