"""Clusters of intensity: Expectation Maximisation finds known Gaussians, in order, the same ones for one seed."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.errors import LabelMapError
from strokelabel.synthesis.prepared.intensity_clusters import cluster_labels, fit_gaussian_mixture


def two_gaussians(seed=0, dark=30_000, bright=10_000):
    """Values of two distributions, mixed up: means 100 and 180, deviations 8 and 15."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(180, 15, bright), rng.normal(100, 8, dark)])
    return rng.permutation(values).astype(np.float32)


def test_two_known_gaussians_are_found_the_darker_one_first():
    mixture = fit_gaussian_mixture(two_gaussians(), 2, seed=1)
    np.testing.assert_allclose(mixture.means, [100, 180], atol=1.5)
    np.testing.assert_allclose(mixture.deviations, [8, 15], rtol=0.1)
    np.testing.assert_allclose(mixture.weights, [0.75, 0.25], atol=0.01)


def test_values_belong_to_the_gaussian_that_they_were_drawn_from():
    rng = np.random.default_rng(3)
    truth = rng.random(20_000) < 0.3
    values = np.where(truth, rng.normal(180, 10, 20_000), rng.normal(100, 10, 20_000)).astype(np.float32)
    assert (fit_gaussian_mixture(values, 2, seed=0).assign(values) == truth).mean() > 0.999


def test_a_small_cluster_beside_a_large_one_is_found():
    mixture = fit_gaussian_mixture(two_gaussians(dark=50_000, bright=1_000), 2, seed=0)
    np.testing.assert_allclose(mixture.means, [100, 180], atol=3)


def test_many_clusters_have_ascending_means_and_values_that_lie_in_order_of_them():
    values = np.random.default_rng(5).gamma(2, 40, 30_000).astype(np.float32)
    mixture = fit_gaussian_mixture(values, 8, seed=0)
    assert (np.diff(mixture.means) > 0).all()
    assigned = mixture.assign(values)
    means = [values[assigned == cluster].mean() for cluster in np.unique(assigned)]
    assert means == sorted(means)


def test_the_same_seed_gives_the_same_mixture():
    values = np.random.default_rng(5).gamma(2, 40, 5_000).astype(np.float32)
    first, second = (fit_gaussian_mixture(values, 6, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.means, second.means)
    np.testing.assert_array_equal(first.assign(values), second.assign(values))


def test_three_voxels_are_enough_for_three_clusters_and_two_are_not():
    values = np.array([7.0, 1.0, 4.0], np.float32)
    np.testing.assert_array_equal(fit_gaussian_mixture(values, 3, seed=0).assign(values), [2, 0, 1])
    with pytest.raises(LabelMapError, match="at least 3 voxels for 3 clusters, found 2"):
        fit_gaussian_mixture(values[:2], 3, seed=0)


@pytest.mark.parametrize("value", [0.0, 57.25, 1e20])
def test_equal_values_are_one_cluster(value):
    values = np.full(50, value, np.float32)
    np.testing.assert_array_equal(fit_gaussian_mixture(values, 4, seed=0).assign(values), 0)


def test_few_extreme_values_do_not_take_a_cluster():
    values = np.concatenate([two_gaussians(), np.full(20, 1e5, np.float32)])
    mixture = fit_gaussian_mixture(values, 2, seed=0)
    np.testing.assert_allclose(mixture.means, [100, 180], atol=2)
    assert mixture.assign(values)[-1] == 1


def test_each_label_is_split_by_its_own_intensities():
    labels = np.repeat([0, 3, 9], 1000).reshape(10, 30, 10).astype(np.int32)
    rng = np.random.default_rng(0)
    image = rng.permuted(np.tile([10.0, 50.0], 1500).reshape(3, 1000), axis=1).reshape(labels.shape)
    image = (image + np.array([0, 200, 400]).repeat(1000).reshape(labels.shape)).astype(np.float32)
    clusters = cluster_labels(image, labels, {0: 2, 3: 2, 9: 1}, seed=0)
    np.testing.assert_array_equal(clusters, (image % 200 > 30) & (labels != 9))


def test_a_label_with_fewer_voxels_than_clusters_is_named():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[1, 2, 3] = 42
    image = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    with pytest.raises(LabelMapError, match="label 42: expected at least 2 voxels for 2 clusters, found 1"):
        cluster_labels(image, labels, {0: 3, 42: 2}, seed=0)
