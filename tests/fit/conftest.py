from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelabel.fit.fine_tuning.cases import SubmittedLabel
from strokelabel.fit.loop.training_loop import TrainingResult
from support import tiny_run
from support.new_contrast import write_scans


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    """Training sets the number of threads; other tests should not feel it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A tiny run from the first step to the last in one go."""
    return tiny_run.tiny_run(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """The folder of a tiny run that was stopped after 12 of its 24 steps."""
    seen: list[int] = []
    tiny_run.tiny_run(
        tmp_path / "run",
        on_progress=lambda progress: seen.append(progress.step),
        should_stop=lambda: len(seen) >= 11,
    )
    return tmp_path / "run"


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> list[SubmittedLabel]:
    """Three scans of a new contrast, with the truth as submitted labels."""
    folder = tmp_path_factory.mktemp("submitted")
    found = []
    for name, lesion in write_scans(folder, prepared_folder, 3).items():
        image, label = folder / f"{name}.nii.gz", folder / f"{name}-label.nii.gz"
        nib.Nifti1Image(lesion.astype(np.uint8), nib.load(image).affine).to_filename(label)
        found.append(SubmittedLabel(name, name.split("_")[0], image, label))
    return found
