import numpy as np
import pytest

from strokelabel.errors import DimensionError, HeaderError
from strokelabel.geometry import CanonicalGrid, Grid

OBLIQUE = np.array([[0, -1.8, 0.4, 31], [0.9, 0, 0, -12], [0, 0.8717797887, 3.0, 5], [0, 0, 0, 1]])


def test_spacing_codes_and_volume_are_read_from_the_affine():
    grid = Grid((7, 8, 9), OBLIQUE)
    np.testing.assert_allclose(grid.spacing, (0.9, 2.0, 3.02655), atol=1e-5)
    assert grid.axis_codes == ("A", "L", "S")
    assert grid.voxel_volume_ml == pytest.approx(abs(np.linalg.det(OBLIQUE)) / 1000)


def test_world_and_voxel_coordinates_are_inverse():
    grid = Grid((7, 8, 9), OBLIQUE)
    points = np.random.default_rng(0).uniform(-5, 12, (4, 5, 3))
    np.testing.assert_allclose(grid.to_voxel(grid.to_world(points)), points, atol=1e-12)


def test_a_window_starts_at_the_voxel_asked_for_even_outside():
    grid = Grid((7, 8, 9), OBLIQUE)
    window = grid.window((-2, 3, 1), (4, 4, 5))
    assert window.shape == (4, 4, 5)
    np.testing.assert_allclose(window.to_world([2, 0, 0]), grid.to_world([0, 3, 1]))


def test_grids_are_equal_by_value_and_cannot_be_changed_by_accident():
    affine = OBLIQUE.copy()
    grid = Grid((7, 8, 9), affine)
    affine[0, 3] = 99
    assert grid == Grid((7, 8, 9), OBLIQUE)
    assert hash(grid) == hash(Grid((7, 8, 9), OBLIQUE))
    assert grid != Grid((7, 8, 10), OBLIQUE)
    assert grid != Grid((7, 8, 9), affine)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 1


@pytest.mark.parametrize("shape", [(7, 8), (7, 8, 9, 2), (7, 0, 9)])
def test_a_shape_that_is_no_volume_is_refused(shape):
    with pytest.raises(DimensionError, match="Expected three axes"):
        Grid(shape, OBLIQUE)


@pytest.mark.parametrize(
    ("affine", "found"),
    [
        (np.eye(3), "shape"),
        (np.diag([1, 1, np.nan, 1]), "finite"),
        (np.diag([1, np.inf, 1, 1]), "finite"),
        (np.diag([1, 1, 0, 1]), "independent"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "independent"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 2.0]]), "last row"),
    ],
)
def test_an_affine_that_places_nothing_in_space_is_refused(affine, found):
    with pytest.raises(HeaderError, match=found):
        Grid((7, 8, 9), affine)


@pytest.mark.parametrize("spacing", [0, -1, np.nan, np.inf])
def test_a_target_spacing_must_be_a_length(spacing):
    with pytest.raises(HeaderError, match="positive target spacing"):
        CanonicalGrid.for_image((7, 8, 9), OBLIQUE, spacing)
