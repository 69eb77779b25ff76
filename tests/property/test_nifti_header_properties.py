"""The law of NIfTI headers: the volume in ml is right or the scan is refused, whatever a field was changed to."""

import tempfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_faults import AFFINE, VOLUME_ML, phantom, volume_ml
from strokelabel.errors import ImageError
from strokelabel.io import read_image

LAW = settings(derandomize=True, deadline=None, max_examples=300)
KINDS = {"nifti1": nib.Nifti1Image, "nifti2": nib.Nifti2Image}
VALUES = [
    0,
    1,
    -1,
    2,
    3,
    4,
    7,
    0.5,
    4.0,
    1000.0,
    1e-3,
    1e6,
    3e38,
    float("nan"),
    float("inf"),
    255,
    348,
    32767,
]


@cache
def written(kind):
    """The phantom with both transforms, as the bytes of a file."""
    image = KINDS[kind](phantom(), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm", "sec")
    with tempfile.TemporaryDirectory() as folder:
        nib.save(image, Path(folder) / "scan.nii")
        return (Path(folder) / "scan.nii").read_bytes()


def numbers(kind):
    """Type and byte of each number of the header, with the name of its field."""
    found = []
    for name, (dtype, offset, *_) in KINDS[kind].header_class.template_dtype.fields.items():
        base = dtype.base
        if base.kind in "iuf":
            found += [
                (name, base, offset + k * base.itemsize) for k in range(dtype.itemsize // base.itemsize)
            ]
    return found


@st.composite
def faults(draw):
    """A kind of file, a number of its header, and the bytes that it is changed to."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    name, base, offset = draw(st.sampled_from(numbers(kind)))
    old = np.frombuffer(written(kind), base, 1, offset)[0]
    factors = [old * factor for factor in (0, 2, 0.5, 10, -1, 1000, 1e-3, 1.001)]
    value = draw(st.sampled_from([*VALUES, *map(float, factors)]))
    with np.errstate(all="ignore"):
        content = np.array([value]).astype(base).tobytes()
    noise = draw(st.binary(min_size=len(content), max_size=len(content)))
    return kind, name, offset, draw(st.sampled_from([content, noise]))


@LAW
@given(faults())
def test_a_field_that_is_changed_leaves_the_volume_or_the_scan_is_refused(fault):
    kind, name, offset, content = fault
    raw = bytearray(written(kind))
    raw[offset : offset + len(content)] = content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nii"
        path.write_bytes(raw)
        try:
            image = read_image(path)
        except ImageError as error:
            assert str(path) in str(error)
            return
        assert volume_ml(image) == pytest.approx(VOLUME_ML, rel=0.02), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_phantom_as_it_is_written_has_its_volume(tmp_path, kind):
    (tmp_path / "scan.nii").write_bytes(written(kind))
    image = read_image(tmp_path / "scan.nii")
    assert image.notes == () and volume_ml(image) == pytest.approx(VOLUME_ML, rel=1e-4)
