import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from strokelabel.errors import UnknownModelError, WeightsError
from strokelabel.labels import CLASS_NAMES
from strokelabel.registry import METADATA_KEY, ModelSpec, find_model, list_models, read_spec

SPEC = ModelSpec(
    name="tiny",
    version="0.3.1",
    description="Knows nothing.",
    path=Path("model.safetensors"),
    network={"channels": [4, 6], "strides": [2]},
    class_names=CLASS_NAMES,
    spacing_mm=1.5,
    field_of_view_mm=(96.0, 120.0, 84.0),
    normalization={"upper": 99.5},
    recipe={"seed": 4, "nested": {"list": [1, 2]}},
    training_step=1200,
    license="CC-BY-4.0",
)


def write_safetensors(path: Path, metadata: dict[str, str]) -> Path:
    """A weights file of one tensor, written by hand: these tests need no torch."""
    header = {"__metadata__": metadata, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path))
    return tmp_path


def install(home: Path, name: str, spec: ModelSpec = SPEC) -> Path:
    return write_safetensors(home / "weights" / name / "model.safetensors", spec.to_metadata())


def test_a_description_travels_in_the_weights_file(tmp_path):
    path = write_safetensors(tmp_path / "copy.safetensors", SPEC.to_metadata())
    assert read_spec(path) == replace(SPEC, path=path)


def test_models_in_the_users_home_are_found_by_the_name_of_their_folder(home):
    path = install(home, "renamed")
    assert find_model("renamed") == replace(SPEC, name="renamed", path=path)
    assert "renamed" in [spec.name for spec in list_models()]


def test_models_are_found_by_path_whatever_their_name(tmp_path, monkeypatch):
    path = write_safetensors(tmp_path / "sub" / "any.safetensors", SPEC.to_metadata())
    assert find_model(path).name == find_model(str(path)).name == "tiny"
    monkeypatch.chdir(path.parent)
    assert find_model("any.safetensors").path == Path("any.safetensors")


def test_an_unknown_name_is_answered_with_those_that_exist(home):
    install(home, "first")
    install(home, "second")
    with pytest.raises(UnknownModelError, match=r"first.*second.*'third'"):
        find_model("third")


def test_a_damaged_model_is_left_out_of_the_list_with_a_warning_and_refused_by_name(home, caplog):
    install(home, "good")
    install(home, "bad").write_bytes(b"\x05")
    names = [spec.name for spec in list_models()]
    assert "good" in names
    assert "bad" not in names
    assert "bad" in caplog.text
    with pytest.raises(WeightsError, match="bad"):
        find_model("bad")


def test_the_check_sum_is_that_of_the_whole_file(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", SPEC.to_metadata())
    before = read_spec(path).sha256
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x01")
    assert len(before) == 64
    assert read_spec(path).sha256 != before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors: expected a weights file"):
        find_model(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("length", [0, 7, 40, -1, -5])
def test_files_cut_short_are_refused(tmp_path, length):
    path = write_safetensors(tmp_path / "cut.safetensors", SPEC.to_metadata())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=r"cut\.safetensors"):
        read_spec(path)


@pytest.mark.parametrize(
    "content", [b"\x80\x02}q\x00." * 9, b"\x10" + bytes(7) + b"{" * 16, b"\x02" + bytes(7) + b"[]"]
)
def test_files_of_other_formats_are_refused(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        read_spec(path)


def test_weights_without_a_description_are_refused(tmp_path):
    path = write_safetensors(tmp_path / "foreign.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="does not describe its model"):
        read_spec(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"spacing_mm": -1},
        {"spacing_mm": "wide"},
        {"field_of_view_mm": [1, 2]},
        {"class_names": [1, 2]},
        {"class_names": None},
        {"network": []},
        {"name": 5},
        {"surprise": 1},
        {"training_step": None},
    ],
)
def test_incomplete_or_impossible_descriptions_are_refused(tmp_path, change):
    content = json.loads(SPEC.to_metadata()[METADATA_KEY]) | change
    path = write_safetensors(tmp_path / "odd.safetensors", {METADATA_KEY: json.dumps(content)})
    with pytest.raises(WeightsError, match=r"odd\.safetensors"):
        read_spec(path)


def test_models_are_listed_without_torch():
    code = "import sys; from strokelabel.registry import list_models; list_models(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False"]


def parcellation(**changes):
    """A description of a model that names two structures."""
    return replace(SPEC, class_names=("background", "brainstem"), task="parcellation", **changes)


def test_a_parcellation_carries_a_number_for_each_class(tmp_path):
    spec = parcellation(class_ids=(0, 16))
    path = write_safetensors(tmp_path / "p.safetensors", spec.to_metadata())
    assert read_spec(path) == replace(spec, path=path)


@pytest.mark.parametrize("ids", [(), (0,), (0, 0), (0, 16, 16), (0, "16"), (0, True)])
def test_a_parcellation_with_other_numbers_is_damaged(tmp_path, ids):
    path = write_safetensors(tmp_path / "p.safetensors", parcellation(class_ids=ids).to_metadata())
    with pytest.raises(WeightsError, match="the description of its model is damaged"):
        read_spec(path)


def test_weights_from_before_there_were_tasks_segment_and_have_no_numbers(tmp_path):
    content = json.loads(SPEC.to_metadata()[METADATA_KEY])
    del content["task"], content["class_ids"]
    path = write_safetensors(tmp_path / "old.safetensors", {METADATA_KEY: json.dumps(content)})
    assert (read_spec(path).task, read_spec(path).class_ids) == ("segmentation", ())
