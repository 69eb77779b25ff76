"""Small parts that the page repeats."""

from __future__ import annotations

import json
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from .tools import CLICKING


def run(command: str, *expressions: str) -> str:
    """Return a click handler that runs a command; arguments are JavaScript expressions."""
    return f"trigger('command', [{', '.join([quoted(command), *expressions])}])"


def quoted(value: Any) -> str:  # noqa: ANN401 - text or number
    """Return a value as JavaScript inside an attribute; apostrophes become typographic ones."""
    if isinstance(value, str):
        return "'" + value.replace("'", "’").replace("\\", "\\\\") + "'"
    return json.dumps(value)


def button(
    command: str,
    icon: str,
    tooltip: str,
    *,
    text: str = "",
    args: list[Any] | None = None,
    when: str = "",
    on: str = "",
    classes: str = "",
) -> None:
    """Add a button that runs a command; a command that cannot be used now makes it grey and gives the reason.

    Args:
        command: of `Commands`.
        icon: name of a Material Design icon; "" for none.
        tooltip: one sentence, with the key in brackets.
        text: beside the icon.
        args: of the command.
        when: expression; the button is there only while it is true.
        on: expression; the button is lit while it is true.
        classes: more CSS classes; "big" or "main" for the main thing to do.
    """
    arguments = [quoted(a) for a in args or []]
    blocked = f"ui.blocked[{quoted(blocker(command, args))}]"
    shown = quoted(tooltip)
    look = f"tool-button {'with-text' if text else ''} {classes}"
    options: dict[str, Any] = {"v_if": (when,)} if when else {}
    with html.Button(
        classes=(f"'{look}' + ({on or 'false'} ? ' on' : '')",),
        click=run(command, *arguments),
        disabled=(f"!!{blocked}",),
        title=(f"{blocked} || {shown}",),
        raw_attrs=[f'data-command="{" ".join([command, *map(str, args or [])])}"'],
        **options,
    ):
        if icon:
            v3.VIcon(icon, size=18)
        if text:
            html.Span(text)


def blocker(command: str, args: list[Any] | None) -> str:
    """Return the presenter's name of a command's condition, for the reason why it is blocked."""
    if command == "tab":
        return "simulate" if args == ["simulate"] else ""
    if command == "tool":
        return "refine" if str((args or [""])[0]) in CLICKING else "edit"
    if command == "overlay":
        return "compare" if args == ["model"] else "overlay"
    return command


def section(title: str) -> None:
    """Add the heading of a part of a panel."""
    html.Div(title, classes="heading")


def slider(name: str, low: float, high: float, step: float, *, tooltip: str, **events: Any) -> None:  # noqa: ANN401
    """Add a slider bound to a state variable."""
    v3.VSlider(
        v_model=(name,),
        min=low,
        max=high,
        step=step,
        density="compact",
        hide_details=True,
        color="primary",
        track_size=3,
        thumb_size=14,
        title=tooltip,
        raw_attrs=[f'data-test="{name}"'],
        **events,
    )


def option_grid(form: str, change: str) -> None:
    """Add a field for each option of a form.

    Args:
        form: its options are in the state variable `<form>_options`, their values in `<form>_values`.
        change: runs when one was changed; `o` is its option, and `$event` the event.
    """
    field: dict[str, Any] = {
        "v_model": (f"{form}_values[o.name]",),
        "change": change,
        "raw_attrs": [':name="o.name"'],
    }
    with html.Div(classes="option-grid"), html.Label(v_for=(f"o in {form}_options",), key="o.name"):
        html.Span("{{ o.text }}")
        with html.Select(v_if=("o.kind === 'choice'",), **field):
            html.Option("{{ c }}", v_for=("c in o.choices",), key="c", value=("c",))
        html.Input(v_else_if=("o.kind === 'flag'",), type="checkbox", **field)
        html.Input(v_else=True, type="text", **field)
