"""Simulated scans of the sample head: what a sequence and its parameters make of its tissues, within milliseconds."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from lib.infers.device_queue import InferenceQueue, client_gave_up
from lib.refusals import InvalidRequestError
from lib.request_values import as_choice, as_flag, as_number
from strokelabel.errors import OptionError
from strokelabel.physics import SEQUENCES, Acquisition, QuantitativeMaps, default_priors, make_acquisition
from strokelabel.physics.field_strength import FIELD_TESLA, PRIOR_TESLA, at_field
from strokelabel.physics.parameter_ranges import ParameterRange, parameter_ranges
from strokelabel.physics.template_slices import TISSUES, TissueSlice, template_slices

HEALTHY = "none"
"""Value of `lesion` for a head without one: white matter in its place."""

FIRST_SEQUENCE, FIRST_LESION = "flair", "lesion-acute"
"""What a request without them gets."""

_FIELD_STEP = 0.1
_CURVE_POINTS = 65
_GAP_PIXELS = 10
_HEADROOM = 1.05
"""White of a picture, relative to its brightest tissue."""

_MOST_WAITING = 8
_KEYS = ("sequence", "parameters", "field", "lesion", "along", "white")


def lesion_names() -> tuple[str, ...]:
    """Return the tissues that the lesion can be made of; the first is none."""
    kinds = ("lesion-", "white-matter-hyper", "oedema", "haemorrhage-")
    return (HEALTHY, *(name for name in default_priors().tissues if name.startswith(kinds)))


def sequence_names() -> tuple[str, ...]:
    """Return the names of the sequences; the first is the default."""
    return (FIRST_SEQUENCE, *(name for name in SEQUENCES if name != FIRST_SEQUENCE))


def simulation_offer() -> dict[str, Any]:
    """Return the sequences with their equations and parameters, the kinds of lesions, and the field strengths."""
    low, high = FIELD_TESLA
    return {
        "sequences": [
            {
                "name": name,
                "title": SEQUENCES[name].title,
                "equation": SEQUENCES[name].equation,
                "parameters": [asdict(each) for each in parameter_ranges(name)],
            }
            for name in sequence_names()
        ],
        "lesions": list(lesion_names()),
        "lesion": FIRST_LESION,
        "field": {"low": low, "high": high, "step": _FIELD_STEP, "default": PRIOR_TESLA},
        "tissues": list(TISSUES),
    }


@dataclass(frozen=True)
class SimulationRequest:
    """A request for a simulated scan.

    Attributes:
        acquisition: sequence and parameters.
        field: in tesla.
        lesion: of `lesion_names`.
        along: parameter along which the signals of the tissues are told too; "" for none.
        white: signal that is drawn white; 0 for that of the brightest tissue.
    """

    acquisition: Acquisition
    field: float
    lesion: str
    along: str
    white: float

    @classmethod
    def from_json(cls, request: Mapping[str, Any]) -> SimulationRequest:
        """Read the body of a request; what is missing has its default.

        Raises:
            InvalidRequestError, OptionError: saying what was expected of which value.
        """
        unknown = [key for key in request if key not in _KEYS]
        if unknown:
            raise InvalidRequestError(f"{unknown[0][:80]}: expected one of {', '.join(_KEYS)}; leave it out.")
        sequence = as_choice(request.get("sequence"), "sequence", sequence_names())
        given = request.get("parameters") or {}
        if not isinstance(given, Mapping):
            raise InvalidRequestError(
                "parameters: expected an object of values by name, found something else."
            )
        ranges = {each.name: each for each in parameter_ranges(sequence)}
        values = {name: _value(name, value, _known(ranges, name)) for name, value in given.items()}
        sloped = [name for name, each in ranges.items() if each.kind != "flag"]
        low, high = FIELD_TESLA
        field = as_number(request.get("field"), "field", PRIOR_TESLA)
        if not low <= field <= high:
            raise InvalidRequestError(f"field: expected {low:g} to {high:g} T, found {field:g}.")
        white = as_number(request.get("white"), "white", 0.0)
        if white < 0:
            raise InvalidRequestError(
                f"white: expected a signal above 0, or 0 for the brightest tissue's, found {white:g}."
            )
        return cls(
            acquisition=make_acquisition(sequence, values),
            field=field,
            lesion=as_choice(request.get("lesion") or FIRST_LESION, "lesion", lesion_names()),
            along=as_choice(request.get("along"), "along", ("", *sloped)),
            white=white,
        )


class Simulator:
    """Simulated scans, one at a time; a bounded number of requests waits."""

    def __init__(self) -> None:
        self._queue = InferenceQueue(_MOST_WAITING, "simulations")

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            InvalidRequestError, OptionError: a value that is not possible.
            BusyError: too many wait.
        """
        asked = SimulationRequest.from_json(request)
        with self._queue.turn(client_gave_up), torch.inference_mode():
            return simulate(asked)


def simulate(asked: SimulationRequest) -> dict[str, Any]:
    """Return the picture of the sample head, and the values and signals of its tissues, as JSON."""
    tissues = _tissues(asked.lesion, asked.field)
    signals = asked.acquisition.signal(tissues)
    white = asked.white or max(_HEADROOM * float(signals.abs().max()), 1e-9)
    slices = template_slices()
    answer = {
        "sequence": asked.acquisition.name,
        "title": asked.acquisition.title,
        "equation": asked.acquisition.equation,
        "parameters": asked.acquisition.parameters(),
        "field": asked.field,
        "lesion": asked.lesion,
        "tissues": _table(tissues, signals),
        "white": white,
        "picture": base64.b64encode(_png(_picture(slices, signals, white))).decode(),
        "slices": [{"name": each.name, "mm": each.position} for each in slices],
        "notes": _notes(asked),
    }
    return answer | ({"curve": _curve(asked, tissues)} if asked.along else {})


def _known(ranges: Mapping[str, ParameterRange], name: str) -> ParameterRange:
    """Look up a parameter of a sequence.

    Raises:
        InvalidRequestError: listing those that it has.
    """
    if name not in ranges:
        raise InvalidRequestError(f"parameters: expected names of {', '.join(ranges)}, found {name[:80]!r}.")
    return ranges[name]


def _value(name: str, value: object, known: ParameterRange) -> float | bool:
    if known.kind == "flag":
        return as_flag(value, name, bool(known.default))
    number = as_number(value, name, known.default)
    if known.kind == "whole" and not number.is_integer():
        raise InvalidRequestError(f"{name}: expected a whole number, found {number:g}.")
    return int(number) if known.kind == "whole" else number


def _tissues(lesion: str, tesla: float) -> QuantitativeMaps:
    """Return the values of `TISSUES`, (tissue,): the means of the priors at a field strength."""
    priors = default_priors()
    names = ("gray", "white", "csf", "white" if lesion == HEALTHY else lesion)
    means = torch.tensor([priors.means(name) for name in names])
    return at_field(QuantitativeMaps.unstack(means, dim=-1), tesla)


def _table(tissues: QuantitativeMaps, signals: Tensor) -> list[dict[str, Any]]:
    """Return the values of each tissue at the field strength; signals are negative while they are inverted."""
    columns = {
        "pd": tissues.pd,
        "t1_ms": 1000 / tissues.r1,
        "t2_ms": 1000 / tissues.r2,
        "t2_star_ms": 1000 / tissues.r2_star,
        "mt": tissues.mt,
        "signal": signals,
    }
    listed = {key: [round(value, 4) for value in values.tolist()] for key, values in columns.items()}
    return [
        {"name": name, **{key: values[index] for key, values in listed.items()}}
        for index, name in enumerate(TISSUES)
    ]


def _picture(slices: tuple[TissueSlice, ...], signals: Tensor, white: float) -> NDArray[np.uint8]:
    """Return the magnitudes of all slices side by side, 0 to 255."""
    planes = [each.signal(signals).abs().numpy() / white for each in slices]
    height = max(plane.shape[0] for plane in planes)
    parts = []
    for plane in planes:
        above = (height - plane.shape[0]) // 2
        parts.append(np.pad(plane, ((above, height - plane.shape[0] - above), (_GAP_PIXELS, _GAP_PIXELS))))
    whole: NDArray[np.float32] = np.concatenate(parts, axis=1)
    return np.round(255 * np.clip(whole, 0, 1)).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, format="PNG", compress_level=3)
    return file.getvalue()


def _curve(asked: SimulationRequest, tissues: QuantitativeMaps) -> dict[str, Any]:
    """Return the signals of the tissues along the slider of one parameter, where its values are possible."""
    (along,) = (each for each in parameter_ranges(asked.acquisition.name) if each.name == asked.along)
    values = np.linspace(along.low, along.high, _CURVE_POINTS)
    if along.kind == "whole":
        values = np.unique(np.round(values))
    points, signals = [], []
    for value in values.tolist():
        changed = {along.name: int(value) if along.kind == "whole" else value}
        try:
            acquisition = make_acquisition(asked.acquisition.name, asked.acquisition.parameters() | changed)
        except OptionError:
            continue
        points.append(round(value, 6))
        signals.append([round(signal, 4) for signal in acquisition.signal(tissues).tolist()])
    return {
        "parameter": along.name,
        "values": points,
        "signals": {name: [each[index] for each in signals] for index, name in enumerate(TISSUES)},
    }


def _notes(asked: SimulationRequest) -> list[str]:
    if asked.field <= PRIOR_TESLA:
        return []
    return [f"R2 is that of {PRIOR_TESLA:g} T; at higher fields it is higher than here."]
