"""Comparison of a cohort's outputs before and after an adaptation, and what speaks against the adapted model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from strokelabel.adaptation.safety import OutputSummary, spoiled

TOLERATED = 0.1
"""Fraction of the scans whose lesion or brain may collapse or spread; of fewer than ten scans, none."""

_DIGITS = 5


@dataclass(frozen=True)
class ScanChange:
    """Output for a scan before and after.

    Attributes:
        source: the scan.
        plain: before.
        adapted: after.
    """

    source: str
    plain: OutputSummary
    adapted: OutputSummary

    @property
    def objection(self) -> str:
        """Objection to the adapted output; "" for none."""
        return spoiled(self.plain, self.adapted)

    def as_json(self) -> dict[str, Any]:
        """Return the change as a JSON object; entropies in nats, volumes in ml."""
        numbers = {
            "entropy_before": self.plain.entropy,
            "entropy_after": self.adapted.entropy,
            "volume_before_ml": self.plain.lesion_ml,
            "volume_after_ml": self.adapted.lesion_ml,
            "brain_before_ml": self.plain.brain_ml,
            "brain_after_ml": self.adapted.brain_ml,
        }
        rounded = {name: round(number, _DIGITS) for name, number in numbers.items()}
        return {**rounded, "objection": self.objection}


def objections(changes: Sequence[ScanChange]) -> list[str]:
    """Return what speaks against a model, for users; nothing where nothing does.

    Args:
        changes: of all scans, at least one.
    """
    spoilt = [change for change in changes if change.objection]
    against = []
    if len(spoilt) > TOLERATED * len(changes):
        named = "; ".join(f"{change.source}: {change.objection}" for change in spoilt[:3])
        against.append(f"{len(spoilt)} of {len(changes)} scans are spoiled ({named})")
    before, after = (
        sum(getattr(change, part).entropy for change in changes) / len(changes)
        for part in ("plain", "adapted")
    )
    if not after < before:
        against.append(f"the mean entropy did not fall ({before:.4f} to {after:.4f})")
    return against
