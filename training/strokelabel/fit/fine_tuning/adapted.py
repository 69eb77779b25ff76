"""Weights that were adapted to a cohort, taken in as a version through the gate of fine-tuning."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from strokelabel.errors import WeightsError
from strokelabel.fit.fine_tuning.cases import CaseSplit
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.session import Session
from strokelabel.fit.fine_tuning.synthetic import SyntheticPart, synthetic_part
from strokelabel.fit.fine_tuning.versions import ORIGIN, Decision, ModelVersions, VersionRecord, decide
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec, find_model

PROVENANCE = "adaptation"
"""Key of a model's recipe under which an adaptation says what it did, and from which weights."""


def add_adapted(
    versions: ModelVersions,
    weights: Path,
    options: FineTuneOptions,
    device: torch.device,
    prepared: Path | None = None,
) -> tuple[VersionRecord, Decision]:
    """Keep adapted weights as a version, and activate it if it is not worse on the synthetic benchmark.

    There are no labels of the cohort to judge by; see `versions.decide`. The same weights become a version once.

    Args:
        versions: of the model that they were adapted from.
        weights: a file of `strokelabel adapt`.
        options: margin and size of the benchmark.
        device: where it is computed.
        prepared: folder of `strokelabel prepare`; None for synthetic data from the ICBM template.

    Returns:
        The version, and the decision about it.

    Raises:
        UnknownModelError, WeightsError: no such file, or weights that were not adapted from this model or a version of
            it.
        OutputError: something cannot be written.
    """
    spec = find_model(weights)
    parent, parent_sha256 = _parent(versions, spec)
    for record in versions.records():
        if record.session == spec.sha256[:16]:
            return record, Decision.model_validate(record.details["result"]["decision"])
    part = synthetic_part(versions.origin, prepared, versions.folder / "training" / "synthetic", device)
    decision = _judge(versions, spec, options, device, part)
    record = versions.add(
        lambda path, name: save_weights(
            path, load_weights(spec)[0], replace(spec, version=f"{versions.origin.version}+{name}")
        ),
        lambda name, kept: VersionRecord(
            name=name,
            weights_sha256=kept.sha256,
            parent=parent,
            parent_sha256=parent_sha256,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            session=spec.sha256[:16],
            details=_details(spec, options, decision, part),
        ),
    )
    if decision.activate:
        versions.activate(record.name)
    return record, decision


def _parent(versions: ModelVersions, spec: ModelSpec) -> tuple[str, str]:
    """Return name and check sum of the version that weights were adapted from.

    Raises:
        WeightsError: there is none.
    """
    said = spec.recipe.get(PROVENANCE)
    parent = said.get("parent_sha256") if isinstance(said, dict) else None
    known = {record.weights_sha256: record.name for record in versions.records()}
    known[versions.origin.sha256] = ORIGIN
    if not isinstance(parent, str) or parent not in known:
        raise WeightsError(
            f"expected weights that were adapted from {versions.origin.name} {versions.origin.version} or one of its "
            "versions by `strokelabel adapt`; name the model that they were adapted from with --model",
            source=spec.path,
        )
    return known[parent], parent


def _judge(
    versions: ModelVersions,
    spec: ModelSpec,
    options: FineTuneOptions,
    device: torch.device,
    part: SyntheticPart | None,
) -> Decision:
    """Compare weights with the active version and the origin, as at the end of a session without labels."""
    parent, active = versions.active()
    folder = versions.folder / "training"
    session = Session(
        versions, folder / "scans", folder, parent, active, options, CaseSplit((), ()), {}, part, device
    )
    before = session.score(active)
    origin = before if parent == ORIGIN else session.score(versions.origin)
    return decide(before, session.score(spec), origin, options.margin)


def _details(
    spec: ModelSpec, options: FineTuneOptions, decision: Decision, part: SyntheticPart | None
) -> dict[str, Any]:
    benchmark = part.identity(options.benchmark_per_family) if part else None
    return {
        PROVENANCE: spec.recipe[PROVENANCE],
        "result": {"decision": decision.model_dump(mode="json"), "benchmark": benchmark},
    }
