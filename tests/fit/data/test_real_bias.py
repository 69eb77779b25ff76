"""The receive field of real scans is the polynomial it says it is."""

from __future__ import annotations

import numpy as np
import torch

from strokelabel.fit.data.annotated_scans.augmentation import RandReceiveField, legendre_field

CPU = torch.device("cpu")
SHAPE = (7, 9, 5)


def test_the_field_is_numpy_s_legendre_series():
    coefficients = np.random.default_rng(3).normal(size=(4, 4, 4))
    axes = [np.linspace(-1, 1, size) for size in SHAPE]
    expected = np.polynomial.legendre.leggrid3d(*axes, coefficients)
    field = legendre_field(torch.from_numpy(coefficients).float(), SHAPE, CPU)
    np.testing.assert_allclose(field.numpy(), expected, atol=1e-5)


def test_a_field_multiplies_the_image_and_depends_on_the_seed_alone():
    image = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(1)) + 0.1
    results = []
    for seed in (5, 5, 6):
        transform = RandReceiveField("image", (0.0, 0.1), 1.0)
        transform.set_random_state(seed=seed)
        results.append(transform({"image": image, "label": None})["image"])
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    ratio = (results[0] / image).log()
    assert float(ratio.std()) > 0 and float(ratio.abs().max()) <= 20 * 0.1


def test_it_is_applied_as_often_as_asked():
    image = torch.ones(1, *SHAPE)
    transform = RandReceiveField("image", (0.05, 0.1), 0.3)
    transform.set_random_state(seed=0)
    changed = sum(not torch.equal(transform({"image": image})["image"], image) for _ in range(300))
    assert 60 < changed < 120
