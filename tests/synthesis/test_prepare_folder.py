"""`strokelabel prepare` from files to an open data set: resumable, honest about what it left out."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from strokelabel.cli.prepare import run as prepare_command
from strokelabel.errors import DataError, LabelMapError
from strokelabel.labels import default_label_table
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.prepare import prepare_data
from support.label_phantoms import ellipsoid, head_at, rigid, write

HEAD_AFFINE = np.array([[2.0, 0, 0, -90], [0, 2, 0, -120], [0, 0, 2, -80], [0, 0, 0, 1]])
TO_ICBM = np.linalg.inv(rigid((10, 3, -4), (2, -12, 9)))
LESION_MM = np.array([-30.0, -10.0, 24.0])

KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from strokelabel.synthesis.prepared import prepare

prepare.LESIONS_PER_SAVE = 2

def die_late(stage, done, total):
    if (stage, done) == ("lesions", 5):
        os.kill(os.getpid(), signal.SIGKILL)

brains, lesions, output = (Path(text) for text in sys.argv[1:])
prepare.prepare_data([brains], [lesions], output, on_progress=die_late)
"""


def write_lesions(folder):
    """Six sound masks (one of them in a subfolder), an empty one, one far away, and one that is no image."""
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = LESION_MM - (15, 16, 17)
    for number in range(5):
        mask = ellipsoid(LESION_MM, (4 + number, 6, 5), affine, (30, 32, 34)).astype(np.uint8)
        write(folder / f"sub-{number:02d}_lesion.nii.gz", mask, affine)
    write(folder / "more" / "sub-00_lesion.nii.gz", mask, affine)
    write(folder / "sub-90_lesion.nii.gz", np.zeros((5, 6, 7), np.uint8), affine)
    affine[:3, 3] = 900
    write(folder / "sub-91_lesion.nii.gz", np.ones((5, 6, 7), np.uint8), affine)
    (folder / "sub-92_lesion.nii.gz").write_bytes(b"not an image")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write(
        folder / "brains" / "brain-01_dseg.nii.gz", head_at(TO_ICBM, HEAD_AFFINE, (90, 115, 95)), HEAD_AFFINE
    )
    write_lesions(folder / "lesions" / "clinic")
    return folder


@pytest.fixture(scope="module")
def killed(sources, tmp_path_factory):
    """The folder that a run leaves behind when it is killed among the lesions."""
    output = tmp_path_factory.mktemp("prepared")
    command = [sys.executable, "-c", KILLED_RUN, sources / "brains", sources / "lesions" / "clinic", output]
    finished = subprocess.run([str(part) for part in command], timeout=300, check=False)
    assert finished.returncode == -signal.SIGKILL
    return output


def run(sources, output, **options):
    return prepare_data([sources / "brains"], [sources / "lesions" / "clinic"], output, **options)


@pytest.fixture(scope="module")
def resumed(sources, killed, tmp_path_factory):
    """The killed folder, prepared again to the end; and when its brain was written."""
    output = tmp_path_factory.mktemp("resumed") / "prepared"
    shutil.copytree(killed, output)
    before = (output / "brains" / "brain-01.nii.gz").stat().st_mtime_ns
    return run(sources, output), before


def test_a_killed_run_is_not_taken_for_prepared_data(killed):
    assert (killed / "brains" / "brain-01.json").exists() and (killed / "lesions.npz").exists()
    with pytest.raises(DataError, match="strokelabel prepare"):
        PreparedData.load(killed)


def test_a_second_run_goes_on_where_the_first_was_killed(resumed):
    result, brain_written = resumed
    brain = result.data.folder / "brains" / "brain-01.nii.gz"
    assert brain.stat().st_mtime_ns == brain_written
    assert len(result.data.lesions) == 6
    assert not [path for path in result.data.folder.rglob("*") if path.name.startswith(".")]


def test_lesions_are_named_by_data_set_and_path_and_the_unusable_are_noted(resumed):
    result, _ = resumed
    assert result.data.lesions.names == ("clinic_more_sub-00", *(f"clinic_sub-{k:02d}" for k in range(5)))
    assert set(result.data.lesions.sources) == {"clinic"}
    noted = json.loads((result.data.folder / "dataset.json").read_text())["lesions"]["refused"]
    assert noted == result.refused
    assert set(noted) == {"clinic_sub-90", "clinic_sub-91", "clinic_sub-92"}
    assert "no voxel above 0.5" in noted["clinic_sub-90"]
    assert "ICBM" in noted["clinic_sub-91"]
    assert "sub-92_lesion.nii.gz" in noted["clinic_sub-92"]


def test_a_lesion_reaches_its_place_in_the_brain(resumed):
    data = resumed[0].data
    brain = data.brain("brain-01")
    bank = data.lesions
    center = (
        bank.affine[:3, :3] @ (np.argwhere(bank.crop(1)).mean(axis=0) + bank.offset(1)) + bank.affine[:3, 3]
    )
    assert np.allclose(center, LESION_MM, atol=0.1)
    expected = np.linalg.inv(TO_ICBM) @ [*LESION_MM, 1]
    placed = np.linalg.inv(brain.to_icbm) @ [*center, 1]
    assert np.linalg.norm(placed - expected) < 3.0
    x, y, z = np.round(np.linalg.inv(brain.affine) @ placed)[:3].astype(int)
    assert data.table.labels[brain.labels[x, y, z]].side == "left"


def test_prepared_data_hold_the_table_and_whole_brains(resumed):
    data = PreparedData.load(resumed[0].data.folder)
    assert data.table == default_label_table()
    assert data.brain_names == ("brain-01",)
    (brain,) = data.brains()
    assert brain.labels.dtype == np.uint8
    assert brain.labels.shape == (180, 230, 190)
    assert np.allclose(np.linalg.norm(brain.affine[:3, :3], axis=0), 1.0)
    assert brain.similarity > 0.9
    with pytest.raises(DataError, match="brain-01"):
        data.brain("brain-77")


def test_preparing_again_changes_nothing(sources, resumed):
    first = resumed[0].data
    assert run(sources, first.folder).data.digest == first.digest


def test_other_lesions_change_the_digest_but_no_brain(sources, resumed, tmp_path):
    result, brain_written = resumed
    output = tmp_path / "prepared"
    shutil.copytree(result.data.folder, output)
    affine = icbm_template().affine.copy()
    affine[:3, 3] = (30, 0, 20)
    write(tmp_path / "other" / "new.nii.gz", np.ones((4, 5, 6), np.uint8), affine)
    data = prepare_data([sources / "brains"], [tmp_path / "other"], output).data
    assert data.lesions.names == ("other_new",)
    assert data.digest != result.data.digest
    assert (output / "brains" / "brain-01.nii.gz").stat().st_mtime_ns == brain_written


def test_damaged_parts_are_named(resumed, tmp_path):
    output = tmp_path / "prepared"
    shutil.copytree(resumed[0].data.folder, output)
    data = PreparedData.load(output)
    brain = output / "brains" / "brain-01.nii.gz"
    brain.write_bytes(brain.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"brain-01\.nii\.gz"):
        data.brain("brain-01")
    data.lesions.subset([0]).save(output / "lesions.npz")
    with pytest.raises(DataError, match="expected 6 lesions"):
        PreparedData.load(output)


def test_unknown_labels_stop_the_run_with_their_values(sources, tmp_path):
    write(tmp_path / "brains" / "odd.nii.gz", np.full((20, 21, 22), 999, np.int16), np.eye(4))
    with pytest.raises(LabelMapError, match=r"odd\.nii\.gz.*999"):
        prepare_data([tmp_path / "brains"], [sources / "lesions"], tmp_path / "out")


def test_nothing_usable_is_an_error_and_not_an_empty_bank(sources, resumed, tmp_path):
    write(tmp_path / "lesions" / "empty.nii.gz", np.zeros((5, 6, 7), np.uint8), np.eye(4))
    shutil.copytree(resumed[0].data.folder, tmp_path / "prepared")
    with pytest.raises(DataError, match="at least one usable lesion"):
        prepare_data([sources / "brains"], [tmp_path / "lesions"], tmp_path / "prepared")


@pytest.mark.parametrize(
    "make", [lambda folder: None, lambda folder: folder.mkdir()], ids=["missing", "empty"]
)
def test_a_folder_without_images_is_named(sources, tmp_path, make):
    make(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere"):
        prepare_data([tmp_path / "nowhere"], [sources / "lesions"], tmp_path / "out")


def test_two_files_of_one_name_are_refused(sources, tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "clinic" / "sub-00_lesion.nii.gz", np.ones((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(DataError, match="clinic_sub-00"):
        prepare_data([sources / "brains"], [tmp_path / "a/clinic", tmp_path / "b/clinic"], tmp_path / "out")


def test_the_command_prepares_and_says_what_it_left_out(sources, resumed, tmp_path):
    output = tmp_path / "prepared"
    shutil.copytree(resumed[0].data.folder, output)
    app = Typer()
    app.command()(prepare_command)
    brains, lesions = sources / "brains", sources / "lesions" / "clinic"
    result = CliRunner().invoke(app, ["--brains", str(brains), "--lesions", str(lesions), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "left out clinic_sub-90" in result.output
    assert "1 brains, 6 lesions" in " ".join(result.output.split())
