"""Records of synthetic images: they survive JSON to the last bit, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass

import pytest
import torch

from strokelabel.errors import DataError
from strokelabel.fit.train import make_synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.record import from_json, to_json
from support.tiny_prepared import make_recipe


@pytest.fixture(scope="module")
def synthesizer(prepared_folder):
    recipe = make_recipe()
    return make_synthesizer(PreparedData.load(prepared_folder), recipe, "train", recipe.synthesis, "cpu")


def assert_same(ours, expected):
    """Equal to the last bit and of the same types, all the way down."""
    assert type(ours) is type(expected)
    if is_dataclass(expected):
        for field in fields(expected):
            assert_same(getattr(ours, field.name), getattr(expected, field.name))
    elif isinstance(expected, torch.Tensor):
        assert ours.dtype == expected.dtype and torch.equal(ours, expected)
    elif isinstance(expected, tuple):
        assert len(ours) == len(expected)
        for mine, theirs in zip(ours, expected, strict=True):
            assert_same(mine, theirs)
    else:
        assert ours == expected


def test_every_value_of_a_record_survives_json(synthesizer):
    for seed in (0, 1, 2, 3, 2**60 + 1):  # with no, one and several lesions
        parameters = synthesizer.sample(seed)
        assert_same(from_json(to_json(parameters)), parameters)
    counts = {len(synthesizer.sample(seed).lesions.draws) for seed in range(20)}
    assert counts == {0, 1, 2, 3}


def test_an_image_is_made_again_from_its_record_bit_for_bit(synthesizer):
    first = synthesizer.generate([42])
    again = synthesizer.apply([from_json(to_json(first.parameters[0]))])
    assert torch.equal(again.image, first.image)
    assert torch.equal(again.target, first.target)


def test_records_are_strict_json(synthesizer):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    json.loads(to_json(synthesizer.sample(3)), parse_constant=refuse)


def broken(content, change):
    """The record as text after a change."""
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("deformation"),
        lambda record: record["artefacts"].pop("phase"),
        lambda record: record.update(seed="one"),
        lambda record: record.update(head=[1]),
        lambda record: record["contrast"].update(family=3),
        lambda record: record["deformation"].update(zoom=[1.0, 1.0]),
        lambda record: record["deformation"].update(velocity_mm=[[1.0], [1.0, 2.0]]),
        lambda record: record["deformation"].update(velocity_mm="fast"),
        lambda record: record["skull_strip"].update(strip=None),
        lambda record: record["artefacts"].update(gamma={"value": 1.0}),
        lambda record: record.update(lesions=[]),
    ],
)
def test_a_record_with_a_missing_or_wrong_entry_is_refused(synthesizer, change):
    text = broken(json.loads(to_json(synthesizer.sample(1))), change)
    with pytest.raises(DataError, match="Expected the record of a synthetic image"):
        from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "3", '{"seed": 1', "\x00"])
def test_text_that_is_no_record_is_refused(text):
    with pytest.raises(DataError, match="Expected the record of a synthetic image"):
        from_json(text)
