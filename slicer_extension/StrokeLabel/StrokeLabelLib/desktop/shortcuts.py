"""Keys, while the module is open."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

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
