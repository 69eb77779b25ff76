"""Arms of an evaluation: the ways of using a model that tables compare.

An arm is added here: by the options that it changes, or by a function that scores a scan in place of the predictor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from strokelabel.errors import OptionError
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.io import Image

if TYPE_CHECKING:
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.inference.segment.scores import Scores

Scorer = Callable[["Predictor", Image, PredictionOptions, OnProgress], "Scores"]
"""Scores a scan in place of `Predictor.scores`, as an adaptation to the scan does."""

ENSEMBLE = "ensemble"
"""Arm that is no way of using a model on a scan: it adds a row for all sequences of a session together."""


@dataclass(frozen=True)
class Arm:
    """A way of using a model.

    Attributes:
        name: on the command line.
        title: behind the model's name in tables; "" for the model as it is.
        changes: options of the prediction that it changes.
        scores: what scores a scan; None for the predictor itself. Sequences are not averaged in such an arm.
    """

    name: str
    title: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    scores: Scorer | None = None

    def options(self, options: PredictionOptions) -> PredictionOptions:
        """Return the options of a prediction in this arm."""
        return replace(options, **self.changes)

    def method_name(self, model: str) -> str:
        """Return what tables call a model in this arm."""
        return f"{model}+{self.title}" if self.title else model


def _adapted(method: Literal["tent", "dae"]) -> Scorer:
    """Return what scores a scan by a model that is adapted to it, where that is safe."""

    def scores(
        predictor: Predictor, image: Image, options: PredictionOptions, progress: OnProgress
    ) -> Scores:
        from strokelabel.adaptation.adapt import AdaptingPredictor
        from strokelabel.adaptation.options import AdaptationOptions

        return AdaptingPredictor(predictor, AdaptationOptions(method)).scores(image, options, progress)

    return scores


ARMS = {
    arm.name: arm
    for arm in (
        Arm("none"),
        Arm("tta", "TTA", {"tta": True}),
        Arm("tent", "TENT", scores=_adapted("tent")),
        Arm("dae", "DAE", scores=_adapted("dae")),
    )
}
"""Models that PL, UPL and DPL made are models like others: they need no arm."""


def parse_arms(text: str | None) -> tuple[list[Arm], bool]:
    """Read arms such as "none,tta,ensemble".

    Args:
        text: names, separated by commas; None for the model as it is. The arm "ensemble" adds its row to each of the
            others, and to the model as it is where there is no other.

    Returns:
        The arms, each once, and whether sessions are scored as ensembles too.

    Raises:
        OptionError: an arm that is not known.
    """
    names = dict.fromkeys(word for word in re.split(r"[,\s]+", text or "none") if word)
    unknown = [name for name in names if name != ENSEMBLE and name not in ARMS]
    if unknown or not names:
        raise OptionError(
            f"expected arms among {', '.join([*ARMS, ENSEMBLE])}, got {', '.join(unknown) or 'none'}; "
            "separate them by commas"
        )
    arms = [ARMS[name] for name in names if name != ENSEMBLE]
    return arms or [ARMS["none"]], ENSEMBLE in names
