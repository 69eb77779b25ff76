"""What the tests of training ask of a server."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from support import app_server
from support.app_server import Server
from support.new_contrast import quick_learner

OPTIONS: dict[str, Any] = {
    "steps": 36,
    "learning_rate": "0.005",
    "synthetic_ratio": 0.3,
    "val_split": 0.2,
    "paste_lesions": False,
    "device": "cpu",
}
"""Of a training of some seconds; numbers may be sent as text."""


def start(folder: Path, studies: Path, prepared: Path) -> Server:
    """Start a server of the small model whose synthetic samples come from `prepared`."""
    folder.mkdir(exist_ok=True)
    return app_server.start(folder, studies, "model", str(quick_learner()), "prepared", str(prepared))


def submit(server: Server, scan: str, mask: np.ndarray, folder: Path) -> None:
    """Submit a label as viewers do."""
    path = folder / f"{scan}.nii.gz"
    affine = nib.load(server.studies / f"{scan}.nii.gz").affine
    nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)
    answer = server.put(
        "/datastore/label",
        params={"image": scan, "tag": "final"},
        data={"params": '{"label_info": [{"name": "lesion", "idx": 1}]}'},
        files={"label": (path.name, path.read_bytes())},
    )
    assert answer.status_code == 200, answer.text


def download(server: Server, scan: str) -> np.ndarray:
    """The submitted label of a scan, (i, j, k) bool."""
    answer = server.get("/datastore/label", params={"label": scan, "tag": "final"})
    assert answer.status_code == 200, answer.text
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(answer.content)).dataobj) > 0


def mask(server: Server, scan: str) -> np.ndarray:
    """The lesion that the server finds in a scan, (i, j, k) bool."""
    answer = server.infer("segment", scan, "image", result_extension=".nii")
    assert answer.status_code == 200, answer.text
    return np.asarray(nib.Nifti1Image.from_bytes(answer.content).dataobj) > 0


def train_to_end(server: Server, **options: Any) -> dict[str, Any]:
    """Train, and return the trainer's stats afterwards."""
    started = server.post("/train/segment", json={**OPTIONS, **options})
    assert started.status_code == 200, started.text
    wait_for(lambda: server.get("/train/").json()["status"] in ("DONE", "ERROR"))
    task = server.get("/train/").json()
    assert task["status"] == "DONE", "\n".join(task["details"])
    return server.get("/info/").json()["train_stats"]["segment"]


def wait_for(condition: Callable[[], bool], seconds: float = 900) -> None:
    """Wait until something is true; machines that do other things at the same time get long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)
