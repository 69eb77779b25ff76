"""Draw the sample data, with and without the true lesions, to a PNG.

python sample-data/code/preview.py docs/images/sample-data.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from make_sample_data import HERE, SUBJECTS, TRUTH, Subject
from matplotlib.axes import Axes


def draw_subject(subject: Subject, axes: np.ndarray) -> None:
    """Draw axial and coronal slices through the middle of the largest lesion; patient's left on the left."""
    person = f"sub-{subject.name}"
    scan = _canonical(HERE / person / "anat" / f"{person}_{subject.suffix}.nii.gz")
    mask_name = f"{person}_space-orig_label-L_desc-{subject.suffix}lesion_mask.nii.gz"
    truth = _canonical(HERE / TRUTH / person / "anat" / mask_name)
    data, lesion = scan.get_fdata(), truth.get_fdata()
    spacing = scan.header.get_zooms()
    for column, axis in enumerate((2, 1)):
        index = int(np.argmax(lesion.sum(axis=tuple(a for a in range(3) if a != axis))))
        plane = [a for a in range(3) if a != axis]
        aspect = spacing[plane[1]] / spacing[plane[0]]
        for with_truth in (False, True):
            panel = axes[2 * column + with_truth]
            _show(panel, np.take(data, index, axis), aspect, np.percentile(data[data > 0], 99.7))
            if with_truth:
                panel.contour(np.take(lesion, index, axis).T, [0.5], colors="red", linewidths=0.8)
    axes[0].set_title(f"{person}_{subject.suffix}", color="white", loc="left", fontsize=9)


def _canonical(path: Path) -> nib.Nifti1Image:
    return nib.as_closest_canonical(nib.load(path))


def _show(panel: Axes, plane: np.ndarray, aspect: float, white: float) -> None:
    panel.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=white, aspect=aspect)
    panel.axis("off")


def main() -> None:
    """Write the picture to the path given on the command line."""
    target = Path(sys.argv[1])
    figure, axes = plt.subplots(len(SUBJECTS), 4, figsize=(9, 7), facecolor="black")
    for subject, row in zip(SUBJECTS, axes, strict=True):
        draw_subject(subject, row)
    figure.subplots_adjust(0, 0, 1, 0.97, 0.01, 0.08)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=90, facecolor="black", metadata={"Software": None})


if __name__ == "__main__":
    main()
