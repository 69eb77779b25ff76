"""`strokelabel info`: which models are here, and in what environment; without importing torch."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib import metadata
from typing import Annotated, Any

import typer

from strokelabel import __version__
from strokelabel.registry import ModelSpec, list_models, list_outcome_models

PACKAGES = (
    "torch",
    "monai",
    "monailabel",
    "numpy",
    "nibabel",
    "SimpleITK",
    "lightning-fabric",
    "safetensors",
)


def run(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """List models, versions and the environment."""
    report = gather()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        typer.echo(as_text(report))


def gather() -> dict[str, Any]:
    """Return everything that `strokelabel info --json` prints."""
    return {
        "strokelabel": __version__,
        "models": [describe_model(spec) for spec in list_models()],
        "outcome_models": {name: str(path) for name, path in list_outcome_models().items()},
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "nvidia_driver": shutil.which("nvidia-smi") is not None,
            "STROKELABEL_HOME": os.environ.get("STROKELABEL_HOME"),
            "packages": {name: _version(name) for name in PACKAGES},
        },
    }


def describe_model(spec: ModelSpec) -> dict[str, Any]:
    """Describe a model for JSON."""
    return {
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "license": spec.license,
        "classes": list(spec.class_names),
        "spacing_mm": spec.spacing_mm,
        "field_of_view_mm": list(spec.field_of_view_mm),
        "training_step": spec.training_step,
        "sha256": spec.sha256,
        "path": str(spec.path),
    }


def as_text(report: dict[str, Any]) -> str:
    """Return the report for users."""
    lines = [f"strokelabel {report['strokelabel']}", "", "models"]
    for model in report["models"]:
        lines.append(f"  {model['name']} {model['version']}: {model['description']}")
        lines.append(f"    classes {', '.join(model['classes'])}; voxels of {model['spacing_mm']:g} mm")
        lines.append(f"    licence {model['license']}; sha256 {model['sha256'][:16]}…; {model['path']}")
    if not report["models"]:
        lines.append("  none; set STROKELABEL_HOME to a folder that holds weights/NAME/model.safetensors")
    lines += ["", "outcome models"]
    lines += [f"  {name}: {path}" for name, path in report["outcome_models"].items()] or ["  none"]
    environment = dict(report["environment"])
    packages = environment.pop("packages")
    lines += ["", "environment"]
    lines += [f"  {key}: {'not set' if value is None else value}" for key, value in environment.items()]
    lines += [f"  {name}: {version or 'not installed'}" for name, version in packages.items()]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
