"""A small model, and scans of a contrast that it has not seen, with the truth.

The model was trained here on heads of nested ellipsoids (see `tiny_prepared`); the scans are made by the
same generator with heads and lesions of its validation part.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.fit.export import export_weights
from strokelabel.fit.train import describe_model, make_synthesizer, train_recipe
from strokelabel.synthesis.benchmark import ValidationCase, case_parameters, validation_config
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe

FAMILY = "dwi"
"""Neither among the model's training images nor in the benchmark."""

_FIRST_SEED = 70_000

_WEIGHTS = Path(__file__).parent / "small_model.safetensors"


def small_model() -> Path:
    """Weights that `python tests/new_contrast.py` trained, for two minutes of a core: too long for each test run."""
    return _WEIGHTS


def quick_learner() -> Path:
    """Weights of a somewhat larger network, trained for 250 steps of the same kind: it finds next to nothing yet, and
    learns in a few steps. Their metadata hold the recipe."""
    return _WEIGHTS.with_name("quick_learner.safetensors")


def train_small_model(path: Path, prepared: Path, steps: int = 600) -> Path:
    """Train a model on T1, T2 and FLAIR, so briefly that it finds lesions in T1 alone, and write its weights."""
    recipe = make_recipe(
        name="small",
        network={"channels": [6, 12, 16], "strides": [2, 2], "dropout": 0.0, "architecture": "plain"},
        synthesis={
            "shape": [32, 40, 36],
            "spacing_mm": 6.0,
            "contrast": {"families": {"t1": 1, "t2": 1, "flair": 1}},
            "deformation": {"flip_probability": (0.5, 0, 0), "elastic_fraction": (0, 0.02)},
            "artefacts": {"gamma_log_deviation": 0.1, "noise_deviation": (0, 0.03)},
            "lesion": {"minimum_contrast": 0.15, "count_weights": {1: 0.7, 2: 0.3}, "minimum_volume_ml": 2.0},
        },
        training={
            "steps": steps, "batch_size": 2, "learning_rate": 5e-3, "validate_every": 0, "threads": 1,
            "ema_decay": 0.97, "lesion_weight": 3.0, "checkpoint_every": 100,
        },
    )  # fmt: skip
    folder = path.parent / "training"
    train_recipe(recipe, PreparedData.load(prepared), folder, device="cpu")
    export_weights(folder, describe_model(recipe, path, "1", "CC0-1.0"), path, dtype="float16")
    return path


def write_scans(folder: Path, prepared: Path, count: int, first: int = 0) -> dict[str, np.ndarray]:
    """Write scans of the new contrast as `sub-NN_dwi.nii.gz`.

    Args:
        folder: where to.
        prepared: whose validation heads and lesions are used.
        count: how many.
        first: number of the first; each number is another subject.

    Returns:
        The lesion of each, (i, j, k) bool, by the scan's id.
    """
    data = PreparedData.load(prepared)
    recipe = make_recipe()
    config = validation_config(recipe.synthesis.shape, recipe.synthesis.spacing_mm)
    synthesizer = make_synthesizer(data, recipe, "validation", config, "cpu")
    truth = {}
    for number in range(first, first + count):
        case = ValidationCase(number, FAMILY, None, _FIRST_SEED + number)
        batch = synthesizer.apply([case_parameters(synthesizer, case)])
        image = batch.image[0, 0].numpy()
        image = image - image.min()
        affine = np.diag([6.0, 6.0, 6.0, 1.0])
        affine[:3, 3] = -3.0 * (np.array(image.shape) - 1)
        name = f"sub-{number + 1:02d}_dwi"
        folder.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image((100 * image).astype(np.float32), affine).to_filename(folder / f"{name}.nii.gz")
        truth[name] = (batch.target[0] == 5).numpy()
    return truth


if __name__ == "__main__":
    import tempfile

    from support.tiny_prepared import write_prepared

    with tempfile.TemporaryDirectory() as made:
        train_small_model(Path(made) / "small.safetensors", write_prepared(Path(made) / "prepared"))
        shutil.copyfile(Path(made) / "small.safetensors", _WEIGHTS)
