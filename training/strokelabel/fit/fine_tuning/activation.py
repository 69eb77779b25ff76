"""Decision whether new weights replace the ones in use."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MARGIN = 0.02
"""Lesion Dice that new weights may lose on the synthetic benchmark, against the model that all versions began with."""

_SAME = 1e-6
"""Dice values closer than this are equal: float32 sums differ from machine to machine."""


class Scores(BaseModel):
    """Mean lesion Dice of a model; None where there was nothing to measure.

    Attributes:
        submitted: on submitted labels that were held out.
        benchmark: on the fixed synthetic benchmark.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    submitted: float | None = None
    benchmark: float | None = None


class Decision(BaseModel):
    """Decision about a version, with the scores that it rests on.

    Attributes:
        activate: whether the new weights take over.
        reasons: one sentence per comparison.
        before: scores of the version in use until now.
        after: scores of the new weights.
        origin: scores of the model that all versions began with.
        margin: see `MARGIN`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activate: bool
    reasons: tuple[str, ...]
    before: Scores
    after: Scores
    origin: Scores
    margin: float


def decide(before: Scores, after: Scores, origin: Scores, margin: float = MARGIN) -> Decision:
    """Compare new weights with those in use.

    They take over if they are not worse on held-out submitted labels, and not worse by more than the margin on the
    benchmark. The benchmark is compared with the origin's, not with the last version's, so that small losses cannot
    add up from one version to the next.

    Args:
        before: of the version in use.
        after: of the new weights.
        origin: of the model that all versions began with.
        margin: Dice that may be lost on the benchmark.
    """
    verdicts = []
    if after.submitted is not None and before.submitted is not None:
        good = after.submitted >= before.submitted - _SAME
        verdicts.append((good, _compared("held-out labels", before.submitted, after.submitted, good)))
    if after.benchmark is not None and origin.benchmark is not None:
        good = after.benchmark >= origin.benchmark - margin - _SAME
        text = _compared("the synthetic benchmark", origin.benchmark, after.benchmark, good)
        verdicts.append((good, f"{text} (margin {margin:g})"))
    if not verdicts:
        verdicts.append((False, "nothing to evaluate on: submit labels of at least two subjects"))
    return Decision(
        activate=all(good for good, _ in verdicts),
        reasons=tuple(text for _, text in verdicts),
        before=before,
        after=after,
        origin=origin,
        margin=margin,
    )


def _compared(where: str, old: float, new: float, good: bool) -> str:
    return f"lesion Dice on {where} went from {old:.3f} to {new:.3f}: {'accepted' if good else 'refused'}"
