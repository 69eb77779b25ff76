"""Core-set selection chooses what is far from everything that is labelled."""

from __future__ import annotations

import numpy as np

from strokelabel.selection import distances_to_labelled, farthest_first

CLUSTERS = np.array([[0.0, 0], [0.1, 0], [0, 0.1], [9, 0], [9.1, 0], [0, 9]])


def test_the_farthest_from_the_labelled_is_first_and_each_cluster_is_visited_once() -> None:
    chosen = farthest_first(CLUSTERS, [[0.05, 0.05]], 2)
    assert {tuple(CLUSTERS[i] > 5) for i in chosen} == {(True, False), (False, True)}


def test_nothing_is_chosen_twice_and_all_where_more_are_wanted() -> None:
    assert sorted(farthest_first(CLUSTERS, [], 99)) == list(range(len(CLUSTERS)))


def test_without_labels_the_most_central_is_first() -> None:
    line = [[0.0], [4.0], [5.0], [10.0]]
    assert farthest_first(line, [], 1) == [2]


def test_features_of_other_units_and_constant_features_do_not_change_the_choice() -> None:
    scaled = np.column_stack([CLUSTERS * [1000, 1000], np.full(len(CLUSTERS), 3.0)])
    assert farthest_first(scaled, [[50, 50, 3.0]], 3) == farthest_first(CLUSTERS, [[0.05, 0.05]], 3)


def test_no_candidates_are_no_error() -> None:
    assert farthest_first([], [[1.0]], 2) == [] and len(distances_to_labelled([], [])) == 0
