"""`strokelabel outcome`: outcome models evaluated, fitted, judged on the lock box, and used."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.outcome_options import Masks, OutcomeName, TableFile, measured, progress
from strokelabel.cli.outcome_explain import explain
from strokelabel.errors import OptionError
from strokelabel.io.atomic import check_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from strokelabel.outcome.evaluation import Classes
    from strokelabel.outcome.patients import Outcome
    from strokelabel.outcome.predictors import Cohort

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Predict outcomes from lesions and clinical facts. For research; not for decisions about patients.",
)

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Name of the model in the table of `evaluate`; default: the best that we measured."
    ),
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="File written by `strokelabel outcome fit`.")
]
Structures = Annotated[
    Path | None,
    typer.Option(
        metavar="PREPARED", help="Prepared brains: adds models that see the load of each structure."
    ),
]


WithNetworks = Annotated[
    bool,
    typer.Option(
        "--networks",
        help="Add networks that see pictures to the classification; takes 25 minutes on a free core.",
    ),
]
NetworkSeeds = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Seeds of each network at most; fewer take less time. Default: those of the classification, "
        "or 3 for volumes.",
    ),
]
Slices = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="FLAIR slices of the patients: adds a network that sees them."),
]
Opened = Annotated[
    Path | None,
    typer.Option(metavar="RECORD", help="Record of the opened lock box: its patients are included too."),
]


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    table: TableFile,
    masks: Masks,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    outcome: OutcomeName = "nihss",
    structures: Structures = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of the ten folds of the regression.")] = 5,
    seeds: Annotated[int, typer.Option(min=0, help="Repeats of the four folds of the classification.")] = 20,
    opened: Opened = None,
    networks: WithNetworks = False,
    network_seeds: NetworkSeeds = None,
    slices: Slices = None,
) -> None:
    """Compare models by repeated cross-validation, on the patients outside the lock box.

    Written are regression.csv, classification.csv, each patient's out-of-fold predictions, summary.md and outcome.png;
    with --networks also networks.png, what they see, and a folder `networks` from which a stopped evaluation continues.
    """
    from strokelabel.outcome.evaluation import (
        Classes,
        classification_task,
        outside_lock_box,
        regression_task,
    )
    from strokelabel.outcome.patients import find_outcome
    from strokelabel.outcome.protocol import check_was_opened
    from strokelabel.reports.outcome import write_outcome_report

    which = find_outcome(outcome)
    _check_networks(which, networks, network_seeds, slices, seeds)
    check_folder(output)
    if opened is not None:
        check_was_opened(opened, which.name)
    cohort = measured(table, masks, which, structures)
    cohort = cohort if opened is not None else outside_lock_box(which, cohort)
    with progress("regression, folds", 10 * repeats) as advance:
        tasks = [regression_task(which, cohort, repeats, advance)]
    if seeds and which.acute:
        classes = Classes.of(cohort, seeds)
        found = _networks(cohort, classes, slices, network_seeds or seeds, output) if networks else {}
        with progress("classification, folds", 4 * seeds) as advance:
            tasks.append(classification_task(which, cohort, classes, advance, found))
    typer.echo(write_outcome_report(which, cohort.ids, tasks, output))


def _check_networks(
    outcome: Outcome, networks: bool, network_seeds: int | None, slices: Path | None, seeds: int
) -> None:
    """Refuse options of networks where no network is trained."""
    if networks and not (outcome.acute and seeds):
        raise OptionError(
            "expected --networks with a classification: --outcome nihss and --seeds of at least 1"
        )
    if not networks and (slices is not None or network_seeds is not None):
        raise OptionError("expected --networks with --slices and --network-seeds")


def _networks(
    cohort: Cohort, classes: Classes, slices: Path | None, most_seeds: int, output: Path
) -> dict[str, NDArray[np.float64]]:
    """Return the predictions of networks, and draw what they see."""
    from strokelabel.outcome.networks.evaluation import cross_validate_networks, find_networks, run_count
    from strokelabel.outcome.networks.pictures import read_pictures
    from strokelabel.reports.outcome_pictures import write_network_pictures

    with progress("pictures", len(cohort.patients)) as advance:
        pictures = read_pictures(cohort, slices, advance)
    write_network_pictures(pictures, cohort, output / "networks.png")
    specs = find_networks(pictures, most_seeds)
    folder = output / "networks"
    check_folder(folder)
    with progress("networks, trainings", run_count(specs, classes.folds)) as advance:
        return cross_validate_networks(specs, pictures, classes.positive, classes.folds, folder, advance)


@app.command()
def fit(
    table: TableFile,
    masks: Masks,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model file, .safetensors.")],
    outcome: OutcomeName = "nihss",
    model: Model = None,
) -> None:
    """Fit a model to the patients outside the lock box, with 90 % prediction intervals."""
    from strokelabel.outcome.evaluation import outside_lock_box
    from strokelabel.outcome.model_file import fit_outcome_model, save_outcome_model
    from strokelabel.outcome.models import DEFAULT
    from strokelabel.outcome.patients import find_outcome
    from strokelabel.outcome.protocol import REGRESSION_FOLDS

    which = find_outcome(outcome)
    cohort = outside_lock_box(which, measured(table, masks, which))
    with progress("folds", REGRESSION_FOLDS) as advance:
        fitted = fit_outcome_model(which, model or DEFAULT[which.name], cohort, advance)
    save_outcome_model(fitted, output)
    typer.echo(f"{output}: {fitted.model.spec.name}, fitted to {fitted.n} patients outside the lock box")


@app.command("open-lock-box")
def open_lock_box(
    model: ModelFile,
    table: TableFile,
    masks: Masks,
    record: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Record of the opening: one file for a data set, kept for good."),
    ],
) -> None:
    """Judge a model by the patients of the lock box, once, and record that it was opened.

    The same model may be judged again; another is refused.
    """
    from strokelabel.hashing import sha256_of_file
    from strokelabel.outcome.evaluation import inside_lock_box
    from strokelabel.outcome.model_file import load_outcome_model, lock_box_scores
    from strokelabel.outcome.protocol import check_may_open, write_opening

    fitted = load_outcome_model(model)
    digest = sha256_of_file(model)
    earlier = check_may_open(record, fitted.outcome.name, digest)
    cohort = inside_lock_box(fitted.outcome, measured(table, masks, fitted.outcome))
    scores = lock_box_scores(fitted, cohort)
    if earlier is None:
        write_opening(record, fitted.outcome.name, digest, cohort.ids, scores)
    else:
        typer.echo(f"note: opened before, on {earlier.opened}, with this model", err=True)
    for name, value in scores.items():
        typer.echo(f"{name}: {value:.3f}")


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name (nihss), or a file of `strokelabel outcome fit`.")
    ],
    mask: Annotated[Path, typer.Argument(metavar="MASK", help="Lesion mask in ICBM (MNI) space.")],
    age: Annotated[float | None, typer.Option(min=0, max=120, help="Age in years.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="JSON file for the estimate.")
    ] = None,
) -> None:
    """Estimate the outcome of one patient, with a 90 % interval. For research; not for decisions about patients."""
    from strokelabel.io.atomic import atomic_write_json
    from strokelabel.outcome.loads import read_loads
    from strokelabel.outcome.model_file import load_outcome_model
    from strokelabel.outcome.scores import NOMINAL_COVERAGE
    from strokelabel.registry import find_outcome_model

    fitted = load_outcome_model(find_outcome_model(model))
    found = fitted.predict(read_loads(mask), age)
    digits = 0 if fitted.outcome.acute else 2
    typer.echo(
        f"estimated {fitted.outcome.title} {found.value:.{digits}f} "
        f"({NOMINAL_COVERAGE:.0%} interval {found.low:.{digits}f} to {found.high:.{digits}f}); research use only"
    )
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if output is not None:
        described = {"outcome": fitted.outcome.name, "coverage": NOMINAL_COVERAGE, "use": "research"}
        atomic_write_json(output, described | asdict(found))


app.command()(explain)
