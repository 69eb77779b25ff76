"""`strokelabel prepare`: training data from label maps and lesion masks, and from real slices and scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from strokelabel.synthesis.prepared.cluster_preparation import ClusterOptions

Brains = Annotated[
    list[Path] | None,
    typer.Option("--brains", help="Folder of label maps (FreeSurfer-style). May be repeated."),
]
Lesions = Annotated[
    list[Path] | None,
    typer.Option("--lesions", help="Folder of lesion masks in ICBM (MNI) space. May be repeated."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Table = Annotated[
    Path | None,
    typer.Option("--table", exists=True, dir_okay=False, help="Label table (TSV) for other label maps."),
]
SlicesOption = Annotated[
    list[Path] | None,
    typer.Option("--slices", help="Folder of real slices with lesion masks (.npz). May be repeated."),
]
Scans = Annotated[
    list[Path] | None,
    typer.Option(
        "--scans",
        help="Folder, or file, of real scans without a stroke, or with a lesion mask beside them. May be repeated.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="Model name or file that finds the brain in --scans.")]
FillHyperintensities = Annotated[
    list[str] | None,
    typer.Option(
        "--fill-hyperintensities",
        help="Pattern of names of --scans whose bright white matter lesions are not strokes; they are filled.",
    ),
]

Em = Annotated[
    Path | None,
    typer.Option(
        "--em",
        help="Folder of images with label maps, such as heart.nii.gz and heart_dseg.nii.gz, in place of --brains and "
        "--lesions: each label is split into clusters of intensity.",
    ),
]
EmLabels = Annotated[
    Path | None, typer.Option("--em-labels", help="Folder of the label maps of --em, if it is another one.")
]
Structures = Annotated[
    Path | None,
    typer.Option(
        "--structures",
        help="Table (TSV) of the labels of --em: index, name, and optionally side, mirror and color.",
    ),
]
Clusters = Annotated[int, typer.Option("--clusters", min=1, help="With --em: clusters of each label.")]
BackgroundClusters = Annotated[
    tuple[int, int],
    typer.Option("--background-clusters", min=1, help="With --em: fewest and most of the background."),
]
Variants = Annotated[
    int,
    typer.Option(
        "--variants", min=1, help="With --em: label maps made of each image, each with other clusters."
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="With --em: seed of the clusters.")]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    brains: Brains = None,
    lesions: Lesions = None,
    output: Output = Path("prepared"),
    table: Table = None,
    slices: SlicesOption = None,
    scans: Scans = None,
    model: Model = "base",
    fill_hyperintensities: FillHyperintensities = None,
    em: Em = None,
    em_labels: EmLabels = None,
    structures: Structures = None,
    clusters: Clusters = 2,
    background_clusters: BackgroundClusters = (3, 10),
    variants: Variants = 1,
    seed: Seed = 0,
) -> None:
    """Register label maps to ICBM space and collect lesions, once, for training; likewise real slices and scans.

    With --em, split the labels of images of any organ into clusters of intensity instead. Interrupted, it continues
    where it stopped when started again. Slices and scans with "validation" in their names are left out.
    """
    from strokelabel.errors import OptionError
    from strokelabel.synthesis.prepared.cluster_preparation import ClusterOptions

    if em is not None:
        if brains or lesions or table or slices or scans:
            raise OptionError(
                "expected no --brains, --lesions, --table, --slices or --scans with --em; prepare them into another "
                "folder"
            )
        options = ClusterOptions(clusters, background_clusters, variants, seed)
        _prepare_clusters(em, output, em_labels, structures, options)
    elif not brains or not lesions:
        raise OptionError("expected --brains and --lesions, or --em")
    elif em_labels or structures:
        raise OptionError("expected --em with --em-labels and --structures")
    else:
        _prepare_heads(
            brains, lesions, output, table, slices or [], scans or [], model, fill_hyperintensities or []
        )


def _prepare_heads(
    brains: list[Path],
    lesions: list[Path],
    output: Path,
    table: Path | None,
    slices: list[Path],
    scans: list[Path],
    model: str,
    fill_hyperintensities: list[str],
) -> None:
    """Prepare label maps, lesions and real images of heads, with a progress bar for each."""
    from rich.console import Console

    from strokelabel.fit.data.real_images.preparation import prepare_real_images
    from strokelabel.labels import read_label_table
    from strokelabel.synthesis.prepared.prepare import prepare_data

    console = Console(stderr=True)
    chosen = read_label_table(table) if table else None
    with _progress(console) as bar:
        stages = ("brains", "lesions", *(["slices"] if slices else []), *(["scans"] if scans else []))
        tasks = {stage: bar.add_task(stage, total=None) for stage in stages}

        def show(stage: str, done: int, total: int) -> None:
            bar.update(tasks[stage], completed=done, total=total)

        result = prepare_data(brains, lesions, output, chosen, show)
        real = prepare_real_images(
            output,
            slices=slices,
            scans=scans,
            model=model,
            fill_hyperintensities=fill_hyperintensities,
            on_progress=show,
        )
    for warning in (*result.warnings, *real.warnings):
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False, markup=False)
    for name, reason in (result.refused | real.skipped).items():
        console.print(f"left out {name}: {reason}", soft_wrap=True, highlight=False, markup=False)
    data = result.data
    counts = f"{len(data.brain_names)} brains, {len(data.lesions)} lesions"
    if slices or scans:
        counts += f", {real.slices} slices, {real.scans} scans"
    console.print(f"{output}: {counts}", soft_wrap=True, highlight=False, markup=False)


def _prepare_clusters(
    images: Path, output: Path, labels: Path | None, structures: Path | None, options: ClusterOptions
) -> None:
    """Split the labels of images, with a progress bar."""
    from rich.console import Console

    from strokelabel.synthesis.prepared.cluster_preparation import prepare_clusters

    console = Console(stderr=True)
    with _progress(console) as bar:
        task = bar.add_task("images", total=None)
        data = prepare_clusters(
            images,
            output,
            labels=labels,
            structures=structures,
            options=options,
            on_progress=lambda _, done, total: bar.update(task, completed=done, total=total),
        )
    console.print(
        f"{output}: {len(data.brain_names)} label maps of {len(data.structures) - 1} structures, "
        f"{len(data.table.labels)} labels",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _progress(console: Console) -> Progress:
    """Return bars that count what is done."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
