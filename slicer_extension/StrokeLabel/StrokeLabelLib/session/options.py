"""Options of a task as fields of a form, from what the server says it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..client.answers import ModelInfo
from ..errors import StrokeLabelLibError

CHOSEN_ELSEWHERE = ("result", "uncertainty", "stroke_stage", "sequence")
"""Options of tasks that segment for which there are buttons, or which a request needs itself."""

_EMPTY = ("", None)


@dataclass(frozen=True)
class OptionField:
    """A field for an option.

    Attributes:
        name: as in requests.
        text: name for users.
        kind: "choice", "flag" or "number".
        value: the present one; the default where nothing was chosen.
        default: the server's.
        choices: of a choice.
    """

    name: str
    text: str
    kind: str
    value: Any
    default: Any
    choices: tuple[str, ...] = ()


def option_fields(
    task: ModelInfo, chosen: Mapping[str, Any] | None = None, left_out: tuple[str, ...] = ()
) -> tuple[OptionField, ...]:
    """Return the options of a task as fields; of a list, the first item is the default.

    Args:
        task: of /info/.
        chosen: values that differ from the defaults.
        left_out: options without a field.
    """
    found = (_field(name, default) for name, default in task.options.items() if name not in left_out)
    values = chosen or {}
    return tuple(replace(each, value=values.get(each.name, each.value)) for each in found if each is not None)


def chosen_options(task: ModelInfo, chosen: Mapping[str, Any], name: str, value: object) -> dict[str, Any]:
    """Return the chosen options with another value of one; the default, and nothing at all, leave it out.

    Raises:
        StrokeLabelLibError: the task has no such option, or it does not take the value.
    """
    known = next((each for each in option_fields(task) if each.name == name), None)
    if known is None:
        raise StrokeLabelLibError(
            f"{task.name} has no option {name!r}; connect again to see those that it has."
        )
    taken = known.default if value in _EMPTY else _read(known, value)
    others = {key: other for key, other in chosen.items() if key != name}
    return others if taken == known.default else {**others, name: taken}


def _field(name: str, default: Any) -> OptionField | None:  # noqa: ANN401 - whatever /info/ holds
    choices = tuple(str(choice) for choice in default) if isinstance(default, list) else ()
    kind = "choice" if choices else "flag" if isinstance(default, bool) else "number"
    value = choices[0] if choices else default
    if not isinstance(value, (str, bool, int, float)):
        return None
    return OptionField(name, name.replace("_", " "), kind, value, value, choices)


def _read(known: OptionField, value: object) -> object:
    """Return a value as the kind of the field has it.

    Raises:
        StrokeLabelLibError: it is not one.
    """
    if known.kind == "choice":
        if str(value) not in known.choices:
            raise StrokeLabelLibError(
                f"{known.text}: expected one of {', '.join(known.choices)}, got {value!r}."
            )
        return str(value)
    if known.kind == "flag":
        return bool(value)
    try:
        return float(str(value).strip().replace(",", "."))
    except ValueError:
        raise StrokeLabelLibError(f"{known.text}: expected a number, got {str(value)[:40]!r}.") from None
