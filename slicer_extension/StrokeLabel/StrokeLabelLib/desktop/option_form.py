"""Form for the options of a task, whatever the server says it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..session.options import OptionField


class OptionForm:
    """Fields for options, one below the other.

    Args:
        container: an empty widget.
        changed: called with the name and the new value of an option that the user changed.
    """

    def __init__(
        self,
        container: Any,  # noqa: ANN401 - Qt's wrappers have no types
        changed: Callable[[str, object], None] = lambda name, value: None,
    ) -> None:
        self._layout = qt.QFormLayout(container)
        self.changed = changed
        self._fields: tuple[OptionField, ...] = ()
        self._widgets: dict[str, Any] = {}
        self._labels: list[Any] = []

    def show(self, fields: tuple[OptionField, ...]) -> None:
        """Show these fields with their values; what the user sees stays as it is where nothing changed."""
        if fields == self._fields:
            return
        shape = [(f.name, f.kind, f.choices) for f in fields]
        if shape != [(f.name, f.kind, f.choices) for f in self._fields]:
            self._build(fields)
        self._fields = fields
        for each in fields:
            self._put(each, self._widgets[each.name])

    def values(self) -> dict[str, Any]:
        """Return the values that differ from the server's defaults."""
        present = {each.name: self._value(each) for each in self._fields}
        defaults = {
            each.name: _text(each.default) if each.kind == "number" else each.default for each in self._fields
        }
        return {name: value for name, value in present.items() if value not in ("", defaults[name])}

    def _build(self, fields: tuple[OptionField, ...]) -> None:
        for widget in (*self._labels, *self._widgets.values()):
            widget.setParent(None)
        self._labels, self._widgets = [], {}
        for each in fields:
            widget = self._make(each)
            label = qt.QLabel(f"{each.text}:")
            self._layout.addRow(label, widget)
            self._labels.append(label)
            self._widgets[each.name] = widget

    def _make(self, each: OptionField) -> Any:  # noqa: ANN401
        def tell(*_: object) -> None:
            self.changed(each.name, self._value(each))

        if each.kind == "choice":
            widget = qt.QComboBox()
            widget.addItems(list(each.choices))
            widget.connect("currentTextChanged(QString)", tell)
        elif each.kind == "flag":
            widget = qt.QCheckBox()
            widget.connect("toggled(bool)", tell)
        else:
            widget = qt.QLineEdit()
            widget.connect("editingFinished()", tell)
        return widget

    @staticmethod
    def _put(each: OptionField, widget: Any) -> None:  # noqa: ANN401
        blocked = widget.blockSignals(True)
        if each.kind == "choice":
            widget.currentText = each.value
        elif each.kind == "flag":
            widget.checked = bool(each.value)
        else:
            widget.text = _text(each.value)
        widget.blockSignals(blocked)

    def _value(self, each: OptionField) -> Any:  # noqa: ANN401
        widget = self._widgets[each.name]
        if each.kind == "choice":
            return widget.currentText
        return bool(widget.checked) if each.kind == "flag" else widget.text.strip()


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
