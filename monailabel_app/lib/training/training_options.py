"""Options of a training request, converted from the types that viewers send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from monailabel.utils.others.generic import device_list
from pydantic import ValidationError

from lib.refusals import InvalidRequestError
from lib.request_values import as_choice, as_device, as_flag, as_number
from lib.studies.review import Policy
from strokelabel.fit.fine_tuning.options import FineTuneOptions, Frozen

TRAIN, ROLLBACK = "train", "rollback"

_DEFAULTS = FineTuneOptions()


@dataclass(frozen=True)
class TrainOptions:
    """Options of a client for training.

    Attributes:
        action: `TRAIN`, or `ROLLBACK` to the version that was active before.
        device: "cpu", "cuda" or "cuda:<n>".
        multi_gpu: train on all GPUs that "cuda" means. MONAI Label's own option `gpus` says which are visible.
        pseudo_labels: "reviewed" trains on what a person drew, accepted or corrected; "all" on models' labels too.
        tuning: everything else.
    """

    action: str
    device: str
    multi_gpu: bool
    pseudo_labels: Policy
    tuning: FineTuneOptions

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> TrainOptions:
        """Read the options of a request; those of stock trainers that mean nothing here are skipped.

        Raises:
            InvalidRequestError, OptionError: saying what was expected of which option.
        """

        def number(name: str, default: float) -> float:
            return as_number(request.get(name), name, default)

        values = {
            "epochs": number("max_epochs", _DEFAULTS.epochs),
            "steps": number("steps", _DEFAULTS.steps),
            "learning_rate": number("learning_rate", _DEFAULTS.learning_rate),
            "freeze": as_choice(request.get("freeze"), "freeze", get_args(Frozen)),
            "validation_fraction": number("val_split", _DEFAULTS.validation_fraction),
            "synthetic_fraction": number("synthetic_ratio", _DEFAULTS.synthetic_fraction),
            "paste_lesions": as_flag(request.get("paste_lesions"), "paste_lesions", _DEFAULTS.paste_lesions),
            "batch_size": number("train_batch_size", _DEFAULTS.batch_size),
            "margin": number("margin", _DEFAULTS.margin),
            "max_minutes": number("max_minutes", 0) or None,
        }
        return cls(
            action=as_choice(request.get("action"), "action", (TRAIN, ROLLBACK)),
            device=as_device(request.get("device")),
            multi_gpu=as_flag(request.get("multi_gpu"), "multi_gpu", True),
            pseudo_labels=cast(
                Policy, as_choice(request.get("pseudo_labels"), "pseudo_labels", get_args(Policy))
            ),
            tuning=_checked(values),
        )


def default_config() -> dict[str, Any]:
    """Return the options that viewers show, with their defaults; the first item of a list is its default."""
    return {
        "action": [TRAIN, ROLLBACK],
        "max_epochs": _DEFAULTS.epochs,
        "steps": _DEFAULTS.steps,
        "learning_rate": _DEFAULTS.learning_rate,
        "freeze": list(get_args(Frozen)),
        "val_split": _DEFAULTS.validation_fraction,
        "train_batch_size": _DEFAULTS.batch_size,
        "device": device_list(),
        "multi_gpu": True,
        "synthetic_ratio": _DEFAULTS.synthetic_fraction,
        "paste_lesions": _DEFAULTS.paste_lesions,
        "pseudo_labels": list(get_args(Policy)),
        "margin": _DEFAULTS.margin,
        "max_minutes": 0.0,
    }


_NAMES = {
    "epochs": "max_epochs",
    "validation_fraction": "val_split",
    "synthetic_fraction": "synthetic_ratio",
    "batch_size": "train_batch_size",
}
"""Options that clients know by another name."""


def _checked(values: dict[str, Any]) -> FineTuneOptions:
    try:
        return FineTuneOptions.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{_NAMES.get(str(e['loc'][0]), e['loc'][0])}: {e['msg'].replace('Input', 'this')}, found {e['input']}"
            for e in error.errors()
        ]
        raise InvalidRequestError("; ".join(problems) + ".") from error
