"""`strokelabel simulate`: what a sequence and its parameters make of quantitative maps or of a label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from strokelabel.physics.acquisition import Acquisition
    from strokelabel.physics.priors import TissuePriors
    from strokelabel.physics.subject import Subject

_SHORT_NAMES = {
    "te": "echo_time",
    "tr": "repetition_time",
    "ti": "inversion_time",
    "flip-angle": "flip_angle",
    "excitation-spacing": "excitation_spacing",
    "excitations": "excitations",
    "inversion-efficiency": "inversion_efficiency",
}
"""Options that can be swept, and the parameters behind them."""


Source = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="A label map (NIfTI, FreeSurfer ids), or a folder with one subject's quantitative maps "
        "(scan_PD, scan_R1, scan_R2, scan_R2star, scan_MT.nii.gz, or BIDS names).",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="NIFTI", help="Scan to write, with a JSON sidecar."),
]
Sequence = Annotated[str, typer.Option(help="fse, gre, spgr, flair, mprage or mp2rage.")]
Te = Annotated[float | None, typer.Option(help="Echo time in seconds.")]
Tr = Annotated[float | None, typer.Option(help="Repetition time in seconds.")]
Ti = Annotated[list[float] | None, typer.Option(help="Inversion time in seconds; twice for mp2rage.")]
FlipAngle = Annotated[list[float] | None, typer.Option(help="Degrees; twice for mp2rage.")]
ExcitationSpacing = Annotated[
    float | None, typer.Option(help="Echo spacing of the readout train in seconds (mprage, mp2rage).")
]
Excitations = Annotated[int | None, typer.Option(help="Excitations per readout train (mprage, mp2rage).")]
InversionEfficiency = Annotated[
    float | None, typer.Option(help="Inversion efficiency, 1 = perfect (flair, mprage, mp2rage).")
]
MtPulse = Annotated[
    bool | None, typer.Option("--mt-pulse/--no-mt-pulse", help="Magnetisation-transfer pulse (spgr).")
]
FieldStrength = Annotated[
    float, typer.Option(help="Field strength in tesla, 0.2 to 7; the input and the priors are of 3 T.")
]
Lesion = Annotated[Path | None, typer.Option(help="Lesion mask to put in, on the input's grid.")]
LesionTissueOption = Annotated[
    str | None, typer.Option(help="Tissue of the lesion: one of the priors, such as lesion-acute.")
]
Priors = Annotated[Path | None, typer.Option(help="Table (TSV) that replaces tissue priors.")]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="Draw a subject from the priors; default: their means, without texture."),
]
Noise = Annotated[
    float, typer.Option(min=0, help="SD of Rician noise, relative to the 99th percentile of the scan.")
]
Receive = Annotated[Path | None, typer.Option(help="Receive field (B1-) relative to 1, NIfTI.")]
Transmit = Annotated[Path | None, typer.Option(help="Transmit field (B1+) relative to 1, NIfTI.")]
TableOption = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Picture: all contrasts, or those of --sweep.")
]
Sweep = Annotated[str | None, typer.Option(help="A parameter and its values for the table: te=0.02,0.05,0.1")]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    source: Source,
    output: Output = None,
    sequence: Sequence = "fse",
    te: Te = None,
    tr: Tr = None,
    ti: Ti = None,
    flip_angle: FlipAngle = None,
    excitation_spacing: ExcitationSpacing = None,
    excitations: Excitations = None,
    inversion_efficiency: InversionEfficiency = None,
    mt_pulse: MtPulse = None,
    field: FieldStrength = 3.0,
    lesion: Lesion = None,
    lesion_tissue: LesionTissueOption = None,
    priors: Priors = None,
    seed: Seed = None,
    noise: Noise = 0.0,
    receive: Receive = None,
    transmit: Transmit = None,
    table: TableOption = None,
    sweep: Sweep = None,
) -> None:
    """Simulate a scan. Times are in seconds, angles in degrees; other parameters have usual clinical values."""
    from strokelabel.errors import OptionError
    from strokelabel.physics import default_priors, make_acquisition, read_priors

    if output is None and table is None:
        raise OptionError("expected --output for a scan, or --table for a picture; give one of them")
    if output is not None and (lesion is None) != (lesion_tissue is None):
        raise OptionError("expected --lesion and --lesion-tissue together; give both, or neither")
    given = _given(sequence, te, tr, ti, flip_angle) | {
        "excitation_spacing": excitation_spacing,
        "excitations": excitations,
        "inversion_efficiency": inversion_efficiency,
        "mt_pulse": mt_pulse,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    acquisition = make_acquisition(sequence, parameters)
    chosen = read_priors(priors) if priors else default_priors()
    what = _Input(source, lesion, lesion_tissue, chosen, seed, field)
    subject = what.read()
    if table is not None:
        _draw_table(subject, what, table, sequence, parameters, sweep)
    if output is not None:
        _write_scan(subject, what, output, acquisition, noise, {"receive": receive, "transmit": transmit})


@dataclass(frozen=True)
class _Input:
    """Input of a simulation."""

    source: Path
    lesion: Path | None
    lesion_tissue: str | None
    priors: TissuePriors
    seed: int | None
    field: float

    def read(self) -> Subject:
        """Read it, without its lesion."""
        import torch

        from strokelabel.labels import default_label_table
        from strokelabel.physics.subject import read_label_subject, read_map_subject
        from strokelabel.synthesis.sampling import Sampler

        if self.source.is_dir():
            return read_map_subject(self.source)
        table = default_label_table()
        if self.seed is None:
            return read_label_subject(self.source, table, self.priors)
        generator = torch.Generator().manual_seed(self.seed)
        return read_label_subject(self.source, table, self.priors, Sampler(self.seed), generator)

    def with_lesion(self, subject: Subject) -> Subject:
        """Return the subject with its lesion, if it has one."""
        from strokelabel.physics.subject import add_lesion
        from strokelabel.synthesis.sampling import Sampler

        if self.lesion is None or self.lesion_tissue is None:
            return subject
        sampler = None if self.seed is None else Sampler(self.seed + 1)
        return add_lesion(subject, self.lesion, self.lesion_tissue, self.priors, sampler)


def _given(
    sequence: str, te: float | None, tr: float | None, ti: list[float] | None, flip_angle: list[float] | None
) -> dict[str, Any]:
    """Return the options as parameters of the sequence; MP2RAGE has two inversion times and flip angles."""
    parameters: dict[str, Any] = {"echo_time": te, "repetition_time": tr}
    for option, values in (("ti", ti or []), ("flip-angle", flip_angle or [])):
        name = _SHORT_NAMES[option]
        if sequence == "mp2rage":
            parameters |= _numbered(option, name, values)
        else:
            parameters |= {name: _single(option, values)}
    return parameters


def _numbered(option: str, name: str, values: list[float]) -> dict[str, float]:
    """Return two values as parameters with a number at their end."""
    from strokelabel.errors import OptionError

    if len(values) not in (0, 2):
        raise OptionError(
            f"expected --{option} twice for mp2rage, got {len(values)}; give both readouts' values"
        )
    return {f"{name}_{number}": value for number, value in enumerate(values, start=1)}


def _single(option: str, values: list[float]) -> float | None:
    """Return the only value of an option."""
    from strokelabel.errors import OptionError

    if len(values) > 1:
        raise OptionError(f"expected --{option} once, got {len(values)}; only mp2rage has two")
    return values[0] if values else None


def _write_scan(
    subject: Subject,
    what: _Input,
    output: Path,
    acquisition: Acquisition,
    noise: float,
    fields: Mapping[str, Path | None],
) -> None:
    """Simulate and write one scan."""
    import torch

    from strokelabel.physics import rician_noise
    from strokelabel.physics.field_strength import at_field
    from strokelabel.physics.subject import read_field
    from strokelabel.reports.simulation import write_simulation

    maps = at_field(what.with_lesion(subject).maps, what.field)
    read = {name: read_field(path, subject) for name, path in fields.items() if path is not None}
    signal = acquisition.magnitude(maps, **read)
    if noise:
        occupied = signal[signal > 0]
        level = noise * float(occupied.kthvalue(max(1, round(0.99 * occupied.numel()))).values)
        signal = rician_noise(signal, level, torch.Generator().manual_seed(what.seed or 0))
    more: dict[str, Any] = {"MagneticFieldStrength": what.field, "Sources": [str(what.source.name)]}
    if what.lesion_tissue:
        more["LesionTissue"] = what.lesion_tissue
    write_simulation(output, signal.numpy(), subject.image, acquisition, **more)
    typer.echo(str(output))


def _draw_table(
    subject: Subject, what: _Input, path: Path, sequence: str, parameters: dict[str, Any], sweep: str | None
) -> None:
    """Draw all contrasts, or one sequence at several values; a row for each kind of lesion if none is chosen."""
    from strokelabel.physics.field_strength import at_field
    from strokelabel.physics.subject import draw_tissues, insert_tissue, read_mask
    from strokelabel.reports.simulation import Cell, axial_slice, save_table

    mask = read_mask(what.lesion, subject) if what.lesion else None
    maps, shown = axial_slice(subject.maps, subject.image, mask)
    tissues = _row_tissues(what)
    values = draw_tissues(set(tissues), what.priors)
    scans = _swept(sequence, parameters, sweep) if sweep else _contrasts()
    slices = [insert_tissue(maps, shown, values[name]) for name in tissues] or [maps]
    rows = [
        [
            Cell(at_field(part, what.field), scan, title if number == 0 else "")
            for title, scan in scans.items()
        ]
        for number, part in enumerate(slices)
    ]
    save_table(rows, path, tissues)
    typer.echo(str(path))


def _row_tissues(what: _Input) -> list[str]:
    """Return the tissue of the lesion in each row; none without a lesion."""
    if what.lesion is None:
        return []
    if what.lesion_tissue is not None:
        return [what.lesion_tissue]
    kinds = ("lesion-", "oedema", "white-matter-hyper", "haemorrhage-")
    return [name for kind in kinds for name in what.priors.tissues if name.startswith(kind)]


def _contrasts() -> dict[str, Acquisition]:
    """Return the usual contrasts by name."""
    from strokelabel.physics import FastSpinEcho, Flair, GradientEcho, Mp2rage, Mprage, SpoiledGradientEcho

    return {
        "T1w MPRAGE": Mprage(),
        "T1w MP2RAGE": Mp2rage(),
        "T1w SPGR": SpoiledGradientEcho(0.004, 0.02, 25, mt_pulse=False),
        "T1w FSE": FastSpinEcho(0.012, 0.6),
        "PDw FSE": FastSpinEcho(0.02, 3.0),
        "T2w FSE": FastSpinEcho(),
        "FLAIR": Flair(),
        "T2*w GRE": GradientEcho(),
    }


def _swept(sequence: str, parameters: dict[str, Any], sweep: str) -> dict[str, Acquisition]:
    """Return the sequence at each value of a parameter, by title."""
    from strokelabel.errors import OptionError
    from strokelabel.physics import make_acquisition

    option, _, listed = sweep.partition("=")
    try:
        name = _SHORT_NAMES[option.strip()]
        values = [int(v) if name == "excitations" else float(v) for v in listed.split(",")]
    except (KeyError, ValueError):
        raise OptionError(
            f"--sweep: expected one of {', '.join(_SHORT_NAMES)} and its values, as in te=0.02,0.05; got {sweep!r}"
        ) from None
    return {
        f"{option.strip()} {value:g}": make_acquisition(sequence, parameters | {name: value})
        for value in values
    }
