"""Slices of the sample head, and the ranges of the sliders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strokelabel.physics import SEQUENCES, Flair, QuantitativeMaps, default_priors, make_acquisition
from strokelabel.physics.parameter_ranges import parameter_ranges
from strokelabel.physics.template_slices import TISSUES, template_slices

REPOSITORY = Path(__file__).parents[2]


def test_the_fractions_of_a_voxel_are_at_most_one_and_the_head_is_mostly_brain() -> None:
    for each in template_slices():
        total = each.fractions.sum(dim=0)
        assert each.fractions.shape[0] == len(TISSUES) and float(each.fractions.min()) >= 0
        assert float(total.max()) == pytest.approx(1, abs=0.02)
        inside = total > 0.9
        assert 0.3 < float(inside.float().mean()) < 0.8
        assert all(float(fraction[inside].mean()) > 0.005 for fraction in each.fractions)


def test_the_lesion_of_the_patients_left_is_on_the_right_of_the_picture() -> None:
    axial, coronal, _ = template_slices()
    for each in (axial, coronal):
        columns = each.fractions[TISSUES.index("lesion")].sum(dim=0)
        centre = float((columns * torch.arange(len(columns))).sum() / columns.sum())
        assert centre > 0.6 * len(columns)
    assert [each.name for each in template_slices()] == ["axial", "coronal", "sagittal"]
    assert [each.position for each in template_slices()] == [26.0, -20.0, -32.0]


def test_signals_add_up_where_tissues_share_a_voxel_also_when_one_is_inverted() -> None:
    (axial, *_), priors = template_slices(), default_priors()
    means = torch.tensor([priors.means(name) for name in ("gray", "white", "csf", "lesion-acute")])
    signals = Flair(inversion_time=1.5).signal(QuantitativeMaps.unstack(means, dim=-1))
    gray, fluid = TISSUES.index("gray"), TISSUES.index("csf")
    assert float(signals[fluid]) < 0 < float(signals[gray])
    shared = (axial.fractions[[gray, fluid]] > 0.3).all(dim=0)
    expected = sum(signals[index] * axial.fractions[index][shared] for index in range(len(TISSUES)))
    assert int(shared.sum()) > 50
    torch.testing.assert_close(axial.signal(signals)[shared], expected)


@pytest.mark.parametrize("sequence", list(SEQUENCES))
def test_the_default_of_every_parameter_lies_in_its_range(
    sequence: str,
) -> None:
    ranges = parameter_ranges(sequence)
    assert {each.name: each.default for each in ranges} == make_acquisition(sequence).parameters()
    for each in ranges:
        assert each.kind == "flag" or (each.low <= each.default <= each.high and each.step > 0), each
        if each.kind == "whole":
            assert float(each.low).is_integer() and float(each.step).is_integer()


def test_every_sequence_has_an_equation_and_the_page_of_the_docs_has_the_same() -> None:
    page = (REPOSITORY / "training/docs/simulation.md").read_text(encoding="utf-8").replace("\\", "")
    for name in ("fse", "flair", "gre"):
        assert f"| `{name}` | {SEQUENCES[name].equation.removeprefix('S = ')} |" in page, name
    assert all(kind.equation.startswith("S = ") for kind in SEQUENCES.values())
