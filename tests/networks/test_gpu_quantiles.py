"""Percentiles as a GPU computes them, without an answer to the host: the same numbers."""

import pytest
import torch

from strokelabel.networks.normalization import nonzero_quantiles


@pytest.mark.parametrize("zeros", [0, 700, 940])
def test_quantiles_of_what_is_not_zero_are_those_of_a_selection(zeros):
    values = torch.randn(1041, generator=torch.Generator().manual_seed(3))
    values[torch.randperm(1041, generator=torch.Generator().manual_seed(4))[:zeros]] = 0
    expected = torch.quantile(values[values != 0], torch.tensor([0.01, 0.99]))
    torch.testing.assert_close(nonzero_quantiles(values, 0.01, 0.99), expected)


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_with_few_values_that_are_not_zero_all_count(kept):
    values = torch.zeros(500)
    values[:kept] = torch.linspace(-3, 5, 100)[:kept]
    expected = torch.quantile(values, torch.tensor([0.01, 0.99]))
    torch.testing.assert_close(nonzero_quantiles(values, 0.01, 0.99), expected)
