import json

import pytest

from strokelabel.errors import OutputError
from strokelabel.io import atomic_path, atomic_write_json, atomic_write_text


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    final = tmp_path / "sub-01.tissue.nii.gz"
    with atomic_path(final) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".tissue.nii.gz")
        temporary.write_bytes(b"half")
        assert not final.exists()
        temporary.write_bytes(b"whole")
    assert final.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    final = tmp_path / "table.csv"
    final.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_missing_folders_are_made_and_permissions_are_the_usual_ones(tmp_path):
    final = tmp_path / "a" / "b" / "note.txt"
    atomic_write_text(final, "läsion\n")
    plain = tmp_path / "plain.txt"
    plain.write_text("x")
    assert final.read_text(encoding="utf-8") == "läsion\n"
    assert final.stat().st_mode == plain.stat().st_mode


def test_json_is_written_readably_and_nan_is_refused(tmp_path):
    final = tmp_path / "report.json"
    atomic_write_json(final, {"name": "Läsion", "volume_ml": 1.5})
    assert json.loads(final.read_text()) == {"name": "Läsion", "volume_ml": 1.5}
    assert "Läsion" in final.read_text()
    with pytest.raises(ValueError, match="JSON"):
        atomic_write_json(final, {"volume_ml": float("nan")})
    assert json.loads(final.read_text())["volume_ml"] == 1.5


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file/out\.txt: expected a writable location"):
        atomic_write_text(tmp_path / "file" / "out.txt", "y")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: expected"):
        atomic_write_text(tmp_path / "folder", "y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
