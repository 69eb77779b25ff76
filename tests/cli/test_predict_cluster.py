"""Parts and clusters: several processes that write to one folder leave what one process would have left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest

from strokelabel.errors import OptionError
from strokelabel.inference.distributed import existing_cluster, local_cluster
from support.bright_network import centred_affine, phantom, rotation
from support.command_line import predict, run

SHAPE = (30, 24, 20)
AFFINE = centred_affine(rotation((8, 0, -12)) @ np.diag([-2.4, 3.0, 3.5]), SHAPE)


def write_scan(path: Path, lesion_mm: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(phantom(SHAPE, AFFINE, lesion_mm, radius_mm=10)[0].data, AFFINE), path)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of three subjects, a scan of the same name in another folder, and one that is broken."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(3):
        for suffix in ("T1w", "FLAIR"):
            path = folder / f"sub-{number}" / "anat" / f"sub-{number}_{suffix}.nii.gz"
            write_scan(path, (6.0 - 3 * number, -9.0, 3.0))
    write_scan(folder / "again" / "sub-0_T1w.nii.gz", (0.0, 0.0, 0.0))
    (folder / "again" / "broken.nii").write_bytes(b"not an image")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Return a check sum for each file of results; files of locks, which are hidden, are left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def command(*args: object) -> subprocess.Popen[str]:
    """Start `strokelabel predict` on one thread of the CPU."""
    words = ["predict", *map(str, args), "--device", "cpu", "--threads", "1"]
    program = [sys.executable, "-m", "strokelabel.cli.main", *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_parts_that_run_at_once_equal_one_run_byte_for_byte(
    bright_model: Path, scans: Path, tmp_path: Path
) -> None:
    common = [scans, "--model", bright_model, "--probabilities"]
    assert predict(*common, "-o", tmp_path / "one") == 1  # the broken scan
    parts = [command(*common, "-o", tmp_path / "three", "--part", f"{part}/3") for part in (1, 2, 3)]
    told = [part.communicate(timeout=300) for part in parts]
    assert sorted(part.returncode for part in parts) == [0, 0, 1], told
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_parts_keep_the_sequences_of_a_session_together(
    bright_model: Path, scans: Path, tmp_path: Path
) -> None:
    common = [scans, "--model", bright_model, "--ensemble"]
    predict(*common, "-o", tmp_path / "one")
    for part in (2, 1):
        predict(*common, "-o", tmp_path / "two", "--part", f"{part}/2")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_workers_of_which_one_is_killed_equal_one_run_byte_for_byte(
    bright_model: Path, scans: Path, tmp_path: Path
) -> None:
    assert predict(scans, "--model", bright_model, "-o", tmp_path / "one") == 1
    out = tmp_path / "two"
    process = command(scans, "--model", bright_model, "-o", out, "--workers", "2")
    wait_for(lambda: any(out.glob("*_lesion_mask.json")) or process.poll() is not None)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in str(child.cmdline())
    ]
    assert process.poll() is None and len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    out_text, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert out_text.count("ml in") == 7
    assert contents(out) == contents(tmp_path / "one")


def test_a_cluster_that_runs_already_does_the_work_and_goes_on_running(
    bright_model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with local_cluster(1) as client:
        address = client.scheduler.address
        assert predict(scans, "--model", bright_model, "-o", tmp_path / "out", "--dask", address) == 1
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    assert capsys.readouterr().out.count("ml in") == 7


def test_an_address_where_no_scheduler_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strokelabel.inference.distributed.CONNECT_S", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "foo"):
        with (
            pytest.raises(OptionError, match="expected the address of a Dask scheduler"),
            existing_cluster(address),
        ):
            pass


def test_an_error_of_the_model_is_told_once_and_nothing_is_predicted(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    assert predict(scans, "--model", bad, "-o", tmp_path / "out", "--workers", "1") in {1, 2}
    assert capsys.readouterr().err.count("error:") == 1
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--part", "4/3"], "expected a part such as 2/8"),
        (["--part", "half"], "expected a part such as 2/8"),
        (["--workers", "2", "--dask", "tcp://127.0.0.1:1"], "expected --workers or --dask, got both"),
    ],
)
@pytest.mark.parametrize("name", ["predict", "pseudo-label", "estimate"])
def test_parts_and_clusters_that_cannot_be_are_refused(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str, name: str
) -> None:
    weights = ["--weights", "any"] if name == "estimate" else []
    assert run(name, scans, "-o", tmp_path / "out", *weights, *words) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def wait_for(holds: object, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
