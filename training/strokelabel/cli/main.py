"""Command `strokelabel`: subcommands are imported only when they are called.

Exit codes: 0 done, 1 something failed (one line on stderr says what), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from typing import Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup

from strokelabel import __version__
from strokelabel.errors import MissingPackageError, OptionError, StrokeLabelError

COMMANDS: dict[str, tuple[str, str]] = {
    "predict": (
        "strokelabel.cli.predict",
        "Segment stroke lesions in scans of any contrast, orientation or spacing.",
    ),
    "estimate": (
        "strokelabel.cli.estimate",
        "Estimate quantitative maps (PD, R1, R2*, MT) of T1-weighted scans.",
    ),
    "series": ("strokelabel.cli.series", "List the DICOM series of folders and archives."),
    "info": ("strokelabel.cli.info", "List models, versions and the environment."),
    "prepare": ("strokelabel.cli.prepare", "Prepare label maps and lesion masks for training, once."),
    "synthesize": (
        "strokelabel.cli.synthesize",
        "Make synthetic training images of a recipe, and look at them.",
    ),
    "simulate": ("strokelabel.cli.simulate", "Simulate a sequence from quantitative maps or a label map."),
    "train": ("strokelabel.cli.train", "Train a network from a recipe."),
    "pseudo-label": (
        "strokelabel.cli.pseudo_label",
        "Predict lesion masks for an unlabelled cohort, for training.",
    ),
    "adapt": ("strokelabel.cli.adapt", "Adapt a model to an unlabelled cohort."),
    "export": ("strokelabel.cli.export", "Write the weights of a training run as a model."),
    "export-onnx": ("strokelabel.cli.export_onnx", "Write a model as ONNX, for other programs."),
    "start": ("strokelabel.cli.start", "Serve scans to annotate, and the browser page beside them."),
    "serve": ("strokelabel.cli.serve", "Serve scans to annotate, with MONAI Label."),
    "models": ("strokelabel.cli.models", "List fine-tuned versions of a model, and roll back."),
    "browse": ("strokelabel.cli.browse", "Correct and submit masks in a browser, with the server."),
    "refine": ("strokelabel.cli.refine", "Correct a lesion mask by clicks and strokes."),
    "validate": (
        "strokelabel.cli.validate",
        "Score a model on synthetic volumes of unseen brains and lesions.",
    ),
    "evaluate": ("strokelabel.cli.evaluate", "Score models or masks on a data set with lesion masks."),
    "outcome": ("strokelabel.cli.outcome", "Predict outcomes from lesions and clinical facts. For research."),
    "report": ("strokelabel.cli.report", "Report what annotators did with the predictions."),
}
"""Name of each command: its module, and its line in `strokelabel --help`.

The module has a function `run`, or, where the command has commands of its own, a `typer.Typer` called `app`.
"""


class LazyGroup(TyperGroup):
    """A command group that imports a command's module when the command is called, not when help is shown.

    Importing torch takes seconds; `--help` and a mistyped option should not.
    """

    def list_commands(self, ctx: object) -> list[str]:
        """Return the command names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:
        """Return a stand-in that knows only its name and help line, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(  # type: ignore[override]  # typer's base class for contexts is not public
        self, ctx: typer.Context, args: list[str]
    ) -> tuple[str | None, TyperCommand | None, list[str]]:
        """Return (name, command, remaining arguments) with the real command in place of its stand-in."""
        self.commands = {name: TyperCommand(name) for name in COMMANDS}  # for "did you mean"
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else None, rest


def load_command(name: str) -> TyperCommand:
    """Import a command of `COMMANDS` and return it as a click command.

    Raises:
        MissingPackageError: a package that it imports is not installed.
    """
    try:
        module = importlib.import_module(COMMANDS[name][0])
    except ModuleNotFoundError as error:
        raise MissingPackageError.of(error, f"the command {name!r}") from error
    several = getattr(module, "app", None)
    if several is None:
        several = typer.Typer(add_completion=False)
        several.command(name)(module.run)
    return cast(TyperCommand, typer.main.get_command(several))


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"strokelabel {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Segment stroke lesions on any brain MRI. For research; not a medical device."""


def _read_names_as_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale knows ASCII names alone, as on some clusters.

    File names in other letters could be read there, but not written into tables and sidecars.
    """
    if sys.getfilesystemencoding() == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code; an error of ours is one line on stderr, never a traceback.

    Args:
        args: the arguments, without the program's name; those of the process when None.
    """
    if args is None:
        _read_names_as_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a terminal cannot show must not end a batch
            stream.reconfigure(errors="backslashreplace")
    # From inside torch and MONAI; nothing that a user could do anything about.
    for message in (".*torch.jit.* is deprecated", "Using a non-tuple sequence"):
        warnings.filterwarnings("ignore", message=message)
    try:
        app(args=args, prog_name="strokelabel")
    except StrokeLabelError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, OptionError) else 1)
    except ModuleNotFoundError as error:  # commands import most of what they need when they run
        typer.echo(f"error: {MissingPackageError.of(error, 'this command')}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
