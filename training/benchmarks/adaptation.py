"""Time of an adapted prediction, and what the adaptation did.

    python training/benchmarks/adaptation.py scan.nii.gz --method tent --threads 1 2

For each number of threads: seconds of the plain prediction (the peer), of an iteration, and of the whole adapted
prediction, with their ratio; then the report of the adaptation, as the sidecar has it.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from strokelabel.adaptation.adapt import adapt
from strokelabel.adaptation.options import AdaptationOptions
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import read_image

OPTIONS = PredictionOptions(keep_probabilities=False)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scans", nargs="+", help="scans, best of 1 mm")
    parser.add_argument("--model", default="base")
    parser.add_argument("--method", choices=["tent", "dae"], default="tent")
    parser.add_argument("--denoiser", default="denoiser")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    arguments = parser.parse_args()
    predictor = Predictor.from_model(arguments.model, "cpu", OPTIONS)
    adaptation = AdaptationOptions(
        arguments.method,
        iterations=arguments.iterations,
        denoiser=arguments.denoiser,
    )
    print(
        "| scan | threads | plain (s) | iteration (s) | adapted (s) | adapted / plain |\n|---|---|---|---|---|---|"
    )
    for scan in arguments.scans:
        image = read_image(scan)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            began = time.perf_counter()
            predictor.predict(image)
            plain = time.perf_counter() - began
            found = adapt(predictor, image, adaptation)
            iteration = found.report.seconds / max(1, arguments.iterations)
            whole = found.prediction.seconds
            print(
                f"| {scan} | {threads} | {plain:.1f} | {iteration:.2f} | {whole:.1f} | {whole / plain:.1f} |",
                flush=True,
            )
        print(json.dumps(found.report.as_json(), indent=1), flush=True)


if __name__ == "__main__":
    main()
