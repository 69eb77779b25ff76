"""The lesion bank gives back what was put in, and refuses what is no bank."""

import numpy as np
import pytest

from strokelabel.errors import DataError
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank

AFFINE = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
SHAPE = (197, 233, 189)


def lesions(rng):
    shapes = [(3, 5, 7), (1, 1, 1), (8, 2, 9)]
    masks = [rng.random(shape) < 0.5 for shape in shapes]
    return [
        Lesion(f"set_{k}", "set", f"{k:064x}", (10 * k, 20 + k, 30), mask | (k == 1))
        for k, mask in enumerate(masks)
    ]


@pytest.fixture
def bank(rng):
    return LesionBank.from_lesions(lesions(rng), SHAPE, AFFINE)


def test_lesions_come_back_bit_by_bit_after_saving(tmp_path, bank, rng):
    bank.save(tmp_path / "lesions.npz")
    loaded = LesionBank.load(tmp_path / "lesions.npz")
    assert len(loaded) == 3
    assert loaded.names == bank.names and loaded.sources == bank.sources and loaded.sha256 == bank.sha256
    assert loaded.grid_shape == SHAPE and np.array_equal(loaded.affine, AFFINE)
    for index in range(3):
        assert np.array_equal(loaded.crop(index), bank.crop(index))
        assert loaded.offset(index) == (10 * index, 20 + index, 30)
        assert loaded.volumes_ml[index] == pytest.approx(bank.crop(index).sum() / 1000)


def test_crops_equal_the_masks_that_were_packed(rng):
    packed = lesions(rng)
    bank = LesionBank.from_lesions(packed, SHAPE, AFFINE)
    assert all(np.array_equal(bank.crop(k), lesion.mask) for k, lesion in enumerate(packed))
    assert np.array_equal(bank.crop(-1), packed[-1].mask)


def test_a_subset_keeps_the_order_asked_for(bank):
    part = bank.subset([2, 0])
    assert part.names == ("set_2", "set_0")
    assert np.array_equal(part.crop(0), bank.crop(2))
    assert part.offset(1) == bank.offset(0)
    assert len(bank.subset([])) == 0


def test_a_missing_truncated_or_foreign_file_is_no_bank(tmp_path, bank):
    path = tmp_path / "lesions.npz"
    with pytest.raises(DataError, match="strokelabel prepare"):
        LesionBank.load(path)
    bank.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="could not be read"):
        LesionBank.load(path)
    np.savez(path, other=np.arange(3))
    with pytest.raises(DataError, match="could not be read"):
        LesionBank.load(path)
