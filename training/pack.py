"""Pack a training for a machine that has PyTorch and no package index: code, data, weights and wheels in one folder.

    python training/pack.py -o pack --prepared prepared --recipe base --weights base

There, `bash pack/run.sh --seconds 560` unpacks it and trains; see training/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from strokelabel.errors import StrokeLabelError
from strokelabel.fit.offline_training.build import build_pack


def main(arguments: list[str] | None = None) -> int:
    """Pack; return the process's exit status."""
    options = parse(arguments)
    try:
        pack = build_pack(
            options.output,
            options.prepared,
            options.recipe,
            weights=options.weights,
            webp_quality=options.webp,
            carry=options.carry,
            wheels=options.wheels,
        )
    except StrokeLabelError as error:
        print(error, file=sys.stderr)
        return 1
    for part, size in pack.mb.items():
        print(f"{part:8s} {size:8.2f} MB")
    print(f"{pack.folder}: {pack.total_mb:.1f} MB in all")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=Path("pack"), help="folder to write")
    parser.add_argument(
        "--prepared", type=Path, default=Path("prepared"), help="as `strokelabel prepare` wrote it"
    )
    parser.add_argument("--recipe", default="base", help="name of a shipped recipe, or a YAML file")
    parser.add_argument("--weights", help="model name or file to start from; random weights if not given")
    parser.add_argument("--webp", type=int, metavar="QUALITY", help="real slices and scans as WebP, 1 to 100")
    parser.add_argument(
        "--carry",
        action="append",
        default=[],
        help="a package to pack although the machine should have it: scipy",
    )
    parser.add_argument("--no-wheels", dest="wheels", action="store_false", help="pack no packages")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
