"""Registration of label maps to ICBM space finds known affine maps and notices swapped sides."""

import numpy as np
import pytest

from strokelabel.errors import LabelMapError
from strokelabel.labels import default_label_table
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY, register_to_icbm
from strokelabel.synthesis.prepared.source_files import read_label_map
from support.label_phantoms import head_at, icbm_label_map, rigid, write

TABLE = default_label_table()


def brain_points_mm():
    template = icbm_template()
    return np.argwhere(template.brain)[::9001] @ template.affine[:3, :3] + template.affine[:3, 3]


def register_file(path):
    labels, affine = read_label_map(path, TABLE)
    return register_to_icbm(labels, affine, TABLE, str(path))


FROM_ICBM = rigid(degrees=(24, -7, 9), translation=(11, -32, 18), scale=(0.9, 0.97, 1.06))


@pytest.fixture(scope="module")
def tilted_head(tmp_path_factory):
    """A phantom on a grid of oblique, anisotropic voxels in an unusual axis order: none of it may matter."""
    axes = np.array([[0, 0, -1.3, 90], [-1.0, 0, 0, 100], [0, 1.1, 0, -90], [0, 0, 0, 1.0]])
    affine = rigid(degrees=(5, 8, -4)) @ axes
    labels = head_at(np.linalg.inv(FROM_ICBM), affine, shape=(230, 200, 150))
    return write(tmp_path_factory.mktemp("head") / "tilted_dseg.nii.gz", labels, affine)


@pytest.fixture(scope="module")
def registration(tilted_head):
    return register_file(tilted_head)


def test_a_tilted_stretched_and_moved_brain_is_found_within_three_millimetres(registration):
    points = brain_points_mm()
    expected = points @ FROM_ICBM[:3, :3].T + FROM_ICBM[:3, 3]
    found = expected @ registration.to_icbm[:3, :3].T + registration.to_icbm[:3, 3]
    assert np.linalg.norm(found - points, axis=1).max() < 3.0
    assert registration.similarity > MINIMUM_SIMILARITY


def test_registration_gives_the_same_matrix_again(tilted_head, registration):
    assert np.array_equal(register_file(tilted_head).to_icbm, registration.to_icbm)


def test_a_header_that_mirrors_the_head_is_refused_by_its_labels(tmp_path):
    template = icbm_template()
    mirrored = np.diag([-1.0, 1, 1, 1]) @ template.affine
    path = write(tmp_path / "mirrored.nii.gz", icbm_label_map(), mirrored)
    with pytest.raises(LabelMapError, match="left labels at x < 0"):
        register_file(path)


def test_a_map_without_brain_is_refused():
    skin = np.full((20, 21, 22), TABLE.index(511), dtype=np.uint8)
    with pytest.raises(LabelMapError, match="expected brain tissue"):
        register_to_icbm(skin, np.eye(4), TABLE, "skin.nii.gz")
