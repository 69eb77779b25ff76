"""What a score is when a mask is empty: a policy that is data, so that it can be read, stored and changed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmptyPolicy:
    """Scores for the cases in which a ratio of voxel counts says nothing.

    Attributes:
        both: no lesion in the reference, and none predicted.
        reference: no lesion in the reference, but some predicted.
        prediction: a lesion in the reference, but none predicted.
    """

    both: float
    reference: float
    prediction: float

    def score(self, reference_is_empty: bool, prediction_is_empty: bool) -> float | None:
        """The score of an empty case; None when neither mask is empty."""
        if reference_is_empty and prediction_is_empty:
            return self.both
        if reference_is_empty:
            return self.reference
        return self.prediction if prediction_is_empty else None


ISLES_OVERLAP = EmptyPolicy(both=1.0, reference=0.0, prediction=0.0)
"""The rule of the ISLES'22 challenge (Hernandez Petzsche et al. 2022): a rightly empty mask is perfect."""
