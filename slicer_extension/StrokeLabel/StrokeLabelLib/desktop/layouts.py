"""Layouts with one axial view per sequence, and keyboard shortcuts."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

LAYOUT_ID = 55641
"""A number that no other module uses: the first digits of the code for infarct."""

_COLORS = ("#F34A33", "#6EB04B", "#EDD54C", "#4AA3DF")
MOST_VIEWS = 4


def view_names(count: int) -> list[str]:
    """Return the names of the views for this many sequences, at most four."""
    return [f"StrokeLabel{index + 1}" for index in range(min(count, MOST_VIEWS))]


def side_by_side(titles: tuple[str, ...]) -> str:
    """Return Slicer's description (XML) of a row of axial views, one per sequence.

    Args:
        titles: names of the sequences, shown in the views; at most four are used.
    """
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        f'<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{_escaped(title)}</property>'
        f'<property name="viewcolor" action="default">{color}</property></view></item>'
        for name, title, color in zip(view_names(len(titles)), titles, _COLORS)
    )
    return f'<layout type="horizontal">{views}</layout>'


def _escaped(text: str) -> str:
    return text[:12].replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


SHORTCUTS: dict[str, tuple[str, str]] = {
    "segment": ("G", "Segment"),
    "submit_and_next": ("Ctrl+Return", "Submit and next"),
    "next_uncertain": ("U", "Next uncertain region"),
    "undo": ("Ctrl+Z", "Undo"),
    "redo": ("Ctrl+Y", "Redo"),
    "lesion_point": ("F", "Click on missed lesion"),
    "not_lesion_point": ("B", "Click on tissue that is not lesion"),
    "toggle_mask": ("H", "Show or hide the mask"),
    "cancel": ("Esc", "Cancel"),
}
"""Command -> key, and what it does."""


class Shortcuts:
    """Keyboard shortcuts on the main window.

    Args:
        commands: what to call, by the keys of `SHORTCUTS`.
    """

    def __init__(self, commands: dict[str, Callable[[], None]]) -> None:
        self._commands = commands
        self._installed: list[qt.QShortcut] = []

    def install(self) -> None:
        """Call it in enter()."""
        self.remove()
        window = slicer.util.mainWindow()
        for name, command in self._commands.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(SHORTCUTS[name][0]))
            shortcut.connect("activated()", command)
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Call it in exit() and cleanup()."""
        for shortcut in self._installed:
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
        self._installed = []
