"""Error of an estimator of quantitative maps on simulated scans of unseen brains and lesions.

    python training/benchmarks/estimator.py WEIGHTS [--prepared prepared] [--count 12] [--scan SCAN] [--picture PNG]

The scans are those of the estimator's own recipe (its metadata), on its validation brains, with seeds of their own. For
each map: the root mean squared error and the structural similarity over all voxels, relative to the true map's greatest
value, beside those of a map that is right on average everywhere in the head; and for each tissue, the median of the
true values, and of the estimated ones in the same voxels. A picture shows the first scan, with the true and the
estimated maps; below it, with --scan, that scan and its maps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.metrics import SSIMMetric
from torch import Tensor, nn

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.estimation import relative_maps
from strokelabel.fit.recipe import Recipe
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.estimate import QuantitativeEstimator
from strokelabel.io import read_image
from strokelabel.io.map_files import MAP_UNITS, PLAIN_SUFFIXES
from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.networks.estimator import ESTIMATED_MAPS
from strokelabel.reports.contact_sheet import Panel, save_contact_sheet
from strokelabel.reports.simulation import map_panels
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.quantitative.samples import EstimationSynthesizer

FIRST_SEED = 60_000
"""Beyond the seeds that training validates on."""

TISSUES = (TissueClass.GRAY_MATTER, TissueClass.WHITE_MATTER, TissueClass.CSF, TissueClass.LESION)


@dataclass(frozen=True)
class Scored:
    """One simulated scan.

    Attributes:
        image: (x, y, z).
        target: (4, x, y, z) true maps.
        found: (4, x, y, z) estimated maps.
        classes: (x, y, z) tissue classes.
    """

    image: Tensor
    target: Tensor
    found: Tensor
    classes: Tensor


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("weights", type=Path, help="an estimator's weights")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--count", type=int, default=12, help="simulated scans")
    parser.add_argument("--scan", type=Path, help="a T1-weighted scan, for the picture")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    options = parser.parse_args(arguments)
    estimator = QuantitativeEstimator.from_model(options.weights, "cpu")
    recipe = Recipe.model_validate(estimator.spec.recipe)
    scored = simulate(recipe, PreparedData.load(options.prepared), estimator.network, options.count)
    print(f"{estimator.spec.name}, step {estimator.spec.training_step}, {options.count} simulated scans")
    report(scored)
    if options.picture:
        save_contact_sheet(panels(scored[0], estimator, options.scan), options.picture, columns=5)


def simulate(recipe: Recipe, data: PreparedData, network: nn.Module, count: int) -> list[Scored]:
    """Simulate scans of the validation brains, and return them with their true and estimated maps."""
    if recipe.estimation is None:
        raise SystemExit(f"{recipe.name}: expected the recipe of an estimator")
    base = make_synthesizer(data, recipe, "validation", recipe.synthesis, "cpu")
    synthesizer = EstimationSynthesizer(base, recipe.estimation.mprage)
    result = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        sample = synthesizer.generate([seed])
        with torch.inference_mode():
            found = network(sample.image)[0]
        result.append(Scored(sample.image[0, 0], sample.maps[0], found, sample.classes[0]))
    return result


def report(scored: list[Scored]) -> None:
    """Print the table of maps, then that of tissues."""
    print(f"{'map':8}{'NRMSE':>8}{'constant':>10}{'SSIM':>8}{'constant':>10}")
    for index, name in enumerate(ESTIMATED_MAPS):
        errors = np.array([_scores(one, one.found, index) for one in scored]).mean(axis=0)
        plain = np.array([_scores(one, _constant(one.target), index) for one in scored]).mean(axis=0)
        print(f"{PLAIN_SUFFIXES[name]:8}{errors[0]:8.3f}{plain[0]:10.3f}{errors[1]:8.3f}{plain[1]:10.3f}")
    print(f"\n{'true / estimated':18}" + "".join(f"{CLASS_NAMES[tissue]:>22}" for tissue in TISSUES))
    for index, name in enumerate(ESTIMATED_MAPS):
        cells = [_medians(scored, index, tissue) for tissue in TISSUES]
        print(f"{PLAIN_SUFFIXES[name] + ' ' + MAP_UNITS[name]:18}" + "".join(f"{cell:>22}" for cell in cells))


def _scores(one: Scored, found: Tensor, index: int) -> tuple[float, float]:
    """Return the NRMSE and SSIM of one map."""
    pair = relative_maps(found[None, index : index + 1], one.target[None, index : index + 1])
    similarity = SSIMMetric(spatial_dims=3, data_range=1.0)(*pair)
    return float((pair[0] - pair[1]).square().mean().sqrt()), float(torch.as_tensor(similarity).mean())


def _constant(target: Tensor) -> Tensor:
    """Return maps that are their mean over the head everywhere in the head."""
    head = target[:1] > 0
    return torch.stack([one[head[0]].mean() for one in target]).view(-1, 1, 1, 1) * head


def _medians(scored: list[Scored], index: int, tissue: TissueClass) -> str:
    """Return the median of the true values of a tissue, and of the estimated ones, over all scans."""
    inside = [one.classes == tissue for one in scored]
    true, found = (
        torch.cat([maps[index][mask] for maps, mask in zip(volumes, inside, strict=True)])
        for volumes in ([one.target for one in scored], [one.found for one in scored])
    )
    return f"{float(true.median()):.3g} / {float(found.median()):.3g}" if len(true) else "-"


def panels(first: Scored, estimator: QuantitativeEstimator, scan: Path | None) -> list[Panel]:
    """Return one row of true and one of estimated maps; then two rows of a scan from a file."""
    image = (first.image - first.image.min()).numpy()
    rows = map_panels(image, first.target.numpy(), "simulated scan, true maps", levels=(0.6,))
    rows += map_panels(image, first.found.numpy(), "the same, estimated", levels=(0.6,))
    if scan is not None:
        real = read_image(scan)
        maps = estimator.estimate(real).maps
        grid = CanonicalGrid.for_image(real.grid.shape, real.affine, 1.0)
        volumes = [grid.forward(values) for values in (real.data, *maps)]
        rows += map_panels(volumes[0], np.stack(volumes[1:]), "scan, estimated", levels=(0.45, 0.6))
    return rows


if __name__ == "__main__":
    main()
