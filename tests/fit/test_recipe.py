"""Recipes: what ships loads, and every slip is named before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from strokelabel.errors import RecipeError
from strokelabel.fit.data.parts import select
from strokelabel.fit.fast_dev_run import shrink
from strokelabel.fit.recipe import find_recipe, load_recipe
from strokelabel.networks.weights import make_network
from strokelabel.synthesis.config import SynthesisConfig
from support.tiny_prepared import make_recipe, tiny_recipe

SHIPPED = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))
BRAINS = [f"brain-{number:02d}" for number in range(1, 18)]


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(tiny_recipe(**changes)))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_its_name(path):
    recipe = load_recipe(path.stem)

    assert recipe.name == path.stem
    assert recipe.description
    assert find_recipe(path.stem).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_validate_on_brains_that_they_do_not_train_on(path):
    brains = load_recipe(path).brains
    if brains is None:
        assert not load_recipe(path).is_synthetic
        return

    training, validation = (select(BRAINS, part, "brains") for part in (brains.train, brains.validation))

    assert training and validation
    assert not set(training) & set(validation)


def test_a_recipe_is_read_from_any_yaml_file(tmp_path):
    assert load_recipe(write(tmp_path / "mine.yml")) == make_recipe()


def test_an_unknown_name_lists_the_recipes_that_ship():
    with pytest.raises(RecipeError) as error:
        load_recipe("bse")
    assert "'bse'" in str(error.value)
    for path in SHIPPED:
        assert repr(path.stem) in str(error.value)


@pytest.mark.parametrize(
    ("section", "changes", "expected"),
    [
        ("training", {"steps": 5, "stepz": 5}, "training.stepz: Extra inputs are not permitted"),
        ("synthesis", {"lesion": {"volume": 1}}, "synthesis.lesion.volume: Extra inputs"),
        ("training", {}, "training.steps: Field required"),
        ("training", {"steps": "many"}, "training.steps: Input should be a valid integer"),
        ("synthesis", {"deformation": {"zoom": [1.1, 0.9]}}, r"zoom: expected \(low, high\) with low <= high"),
        ("synthesis", {"contrast": {"families": {"t3": 1}}}, "synthesis.contrast.families.t3"),
        ("brains", {"train": [], "validation": ["b"]}, "brains.train: .*at least 1"),
        ("brains", {"train": "brain-*", "validation": ["b"]}, "brains.train: Input should be a valid tuple"),
        ("synthesis", {"shape": [32, 41, 36], "spacing_mm": 6.0}, "multiples of 2 .*got \\(32, 41, 36\\)"),
        ("synthesis", {"shape": [2, 2, 2], "spacing_mm": 6.0}, "multiples of 2"),
        ("synthesis", {"shape": [0, 40, 36], "spacing_mm": 6.0}, "multiples of 2"),
        ("network", {"channels": [4, 4], "strides": [2], "out_channels": 2}, "6 output channels"),
        ("network", {"channels": [4, 4], "strides": [2, 2]}, "one stride fewer than channels"),
        ("target", "parcellation", "expected a network with 1 input channel and 34 output channels"),
        ("lesion_target", "underlying", "target: expected parcellation with `lesion_target: underlying`"),
        ("synthesis", {"shape": [32, 40, 36], "skull_strip": {"method": "labels"}}, "target: expected parcellation"),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_file_and_key(tmp_path, section, changes, expected):
    path = write(tmp_path / "slip.yaml", **{section: changes})
    with pytest.raises(RecipeError, match=expected) as error:
        load_recipe(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"name: [unclosed", b"a: b: c", b"name: \xff\xfe", b"\x00", b"", b"just words", b"- a\n- list"],
)
def test_a_file_that_holds_no_recipe_is_refused_in_one_message(tmp_path, content):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="expected a recipe in YAML") as error:
        load_recipe(path)
    assert str(path) in str(error.value)


def test_every_problem_of_a_recipe_is_told_at_once(tmp_path):
    path = write(tmp_path / "two.yaml", training={"steps": 0}, colour="red")
    with pytest.raises(RecipeError, match=r"training\.steps: .*; colour: "):
        load_recipe(path)


def test_patterns_select_names_once_and_in_the_data_s_order():
    assert select(["a-1", "a-2", "b-1"], ("b-*", "a-2", "*-2"), "brains.train") == ["a-2", "b-1"]


def test_a_pattern_that_matches_nothing_is_named_with_what_there_is():
    with pytest.raises(RecipeError, match=r"brains\.train: 'c-\*' matches none .*'a-1', 'b-1'"):
        select(["a-1", "b-1"], ("a-*", "c-*"), "brains.train")


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict) and value
        result |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return result


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shrinking_a_recipe_changes_its_size_only(path):
    recipe = load_recipe(path)
    before, after = flat(recipe.model_dump()), flat(shrink(recipe).model_dump())

    changed = {key for key in before | after if before.get(key) != after.get(key)}

    assert changed <= {
        "name", "network.channels", "network.atlas_voxels",
        "synthesis.shape", "synthesis.spacing_mm", "validation.per_family",
        "training.steps", "training.validate_every", "training.checkpoint_every", "training.warmup_steps",
        "training.precision", "training.compile", "estimation.mse_steps",
        "network.cells", "network.hidden", "network.projection",
            "slabs.count", "slabs.thickness_voxels", "scans.count",
    }  # fmt: skip
    assert {"name", "training.steps"} <= changed


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shrunk_recipe_is_valid_still_sees_a_head_and_is_small(path):
    recipe = shrink(load_recipe(path))

    assert type(recipe).model_validate(recipe.model_dump()) == recipe
    assert min(recipe.synthesis.field_of_view_mm) >= 160
    assert max(recipe.synthesis.shape) <= 64
    assert sum(p.numel() for p in make_network(recipe.network).parameters()) < 20_000


def test_another_voxel_size_keeps_the_field_of_view():
    config = SynthesisConfig(shape=(56, 72, 60), spacing_mm=3.0).at_spacing(1.5)
    assert (config.shape, config.spacing_mm) == ((112, 144, 120), 1.5)


def test_a_recipe_that_extends_another_holds_only_what_differs(tmp_path):
    write(tmp_path / "whole.yaml", training={"steps": 6, "threads": 1, "batch_size": 2})
    small = {"extends": "whole.yaml", "name": "small", "training": {"batch_size": 1}, "slabs": None}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))

    recipe, whole = (load_recipe(tmp_path / f"{name}.yaml") for name in ("small", "whole"))

    assert (recipe.name, recipe.training.batch_size, recipe.training.steps) == ("small", 1, 6)
    assert recipe.synthesis == whole.synthesis and recipe.network == whole.network
    shipped = yaml.safe_dump({"extends": "base", "name": "mine", "training": {"steps": 7}})
    (tmp_path / "mine.yaml").write_text(shipped)
    assert load_recipe(tmp_path / "mine.yaml").training.steps == 7
    assert load_recipe(tmp_path / "mine.yaml").slabs == load_recipe("base").slabs


def test_recipes_that_extend_each_other_are_refused(tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"extends": f"{other}.yaml"}))
    with pytest.raises(RecipeError, match="comes back to"):
        load_recipe(tmp_path / "one.yaml")
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump({"extends": "nothing"}))
    with pytest.raises(RecipeError, match="No recipe 'nothing'"):
        load_recipe(tmp_path / "lost.yaml")
