"""One running server for all tests of the app, on phantoms and with a network that finds their lesions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import app_server
from support.app_scans import BAD_SCANS, BIDS_SCAN, FLAT_SCAN, head, save

# the server imports the app's modules from its folder, and so do the tests of single parts
sys.path.insert(0, str(app_server.REPOSITORY / "monailabel_app"))


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A studies folder: a BIDS scan and its derivatives, other scans, and files that cannot be segmented."""
    folder = tmp_path_factory.mktemp("studies")
    save(folder / f"sub-07/ses-2/anat/{BIDS_SCAN}.nii.gz", head(1))
    save(folder / "derivatives/truth/sub-07/anat/sub-07_T1w.nii.gz", head(2))
    save(folder / "sub-07/ses-2/anat/sub-07_ses-2_label-L_mask.nii.gz", head(2))
    save(folder / f"{FLAT_SCAN}.nii", head(3))
    save(folder / "patient-3/T1.nii.gz", head(4))
    for name, write in BAD_SCANS.items():
        write(folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, studies: Path, bright_model: Path
) -> Iterator[app_server.Server]:
    """A running server without a parcellation; nothing of it may outlive the tests."""
    conf = ("model", str(bright_model), "structures", "none")
    running = app_server.start(tmp_path_factory.mktemp("server"), studies, *conf)
    yield running
    assert app_server.stop(running) == []
