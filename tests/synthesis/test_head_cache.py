"""Heads at a working resolution are kept beside the prepared data, and made again when they are not sound."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file, save_file

from strokelabel.errors import DataError
from strokelabel.synthesis.anatomy import head
from strokelabel.synthesis.anatomy.head import load_heads, make_head
from strokelabel.synthesis.prepared.dataset import PreparedData

NAMES = ["brain-10", "brain-01"]
SPACING_MM = 8.0


@pytest.fixture
def folder(prepared_folder, tmp_path):
    """A prepared folder of our own, without cache."""
    own = tmp_path / "prepared"
    shutil.copytree(prepared_folder, own, ignore=shutil.ignore_patterns("heads*"))
    return own


def cached(folder):
    return sorted(folder.glob("heads*/*"))


def assert_same_heads(ours, expected):
    for made, other in zip(ours, expected, strict=True):
        for field in fields(other):
            value = getattr(other, field.name)
            assert getattr(made, field.name).dtype == value.dtype
            assert torch.equal(getattr(made, field.name), value), field.name


def test_heads_come_in_the_order_asked_for_and_as_they_are_made(folder):
    data = PreparedData.load(folder)
    expected = [make_head(data.brain(name), data.table, SPACING_MM) for name in NAMES]
    assert_same_heads(load_heads(data, NAMES, SPACING_MM), expected)
    assert_same_heads(load_heads(data, NAMES, SPACING_MM), expected)
    assert len(cached(folder)) == 2


def test_the_second_time_label_maps_are_not_needed(folder):
    data = PreparedData.load(folder)
    first = load_heads(data, NAMES, SPACING_MM)
    for path in folder.glob("brains/*"):
        path.unlink()
    assert_same_heads(load_heads(data, NAMES, SPACING_MM), first)
    with pytest.raises(DataError):
        load_heads(data, NAMES, 2 * SPACING_MM)


def test_many_fine_heads_are_made_by_several_processes_and_are_the_same(folder, monkeypatch):
    monkeypatch.setattr(head, "_WORTH_PROCESSES", 2)
    monkeypatch.setattr(head, "_FINE_MM", SPACING_MM)
    monkeypatch.setattr(head, "make_head", None)  # this process is not to make any
    data = PreparedData.load(folder)

    made = load_heads(data, NAMES, SPACING_MM)

    assert_same_heads(made, [make_head(data.brain(name), data.table, SPACING_MM) for name in NAMES])


def without_an_entry(path):
    tensors = load_file(path)
    tensors.pop("brain")
    save_file(tensors, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b"x" * 1000),
        without_an_entry,
    ],
    ids=["empty", "truncated", "garbage", "without an entry"],
)
def test_a_damaged_head_is_made_again_and_replaced(folder, damage):
    data = PreparedData.load(folder)
    first = load_heads(data, NAMES, SPACING_MM)
    contents = [path.read_bytes() for path in cached(folder)]
    damage(cached(folder)[0])

    assert_same_heads(load_heads(data, NAMES, SPACING_MM), first)

    assert [path.read_bytes() for path in cached(folder)] == contents


def test_heads_of_other_data_are_not_taken(folder):
    load_heads(PreparedData.load(folder), NAMES, SPACING_MM)
    description = json.loads((folder / "dataset.json").read_text())
    description["digest"] = "f" * 64
    (folder / "dataset.json").write_text(json.dumps(description))
    shutil.copy(folder / "brains" / "brain-17.nii.gz", folder / "brains" / "brain-01.nii.gz")
    data = PreparedData.load(folder)

    changed = load_heads(data, ["brain-01"], SPACING_MM)

    assert_same_heads(changed, [make_head(data.brain("brain-01"), data.table, SPACING_MM)])
    assert len(cached(folder)) == 3


def test_where_nothing_can_be_kept_heads_are_made_all_the_same(folder, caplog):
    (folder / "heads").touch()  # a file where the cache's folder would be
    data = PreparedData.load(folder)
    expected = [make_head(data.brain(name), data.table, SPACING_MM) for name in NAMES]
    assert_same_heads(load_heads(data, NAMES, SPACING_MM), expected)
    assert "continuing without" in caplog.text
