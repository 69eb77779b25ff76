"""Keyboard shortcuts; the help dialog lists them, and the page's script sends them.

What the module of desktop Slicer has too has the same key there (`StrokeLabelLib/desktop/shortcuts.py`).
"""

from __future__ import annotations

from typing import Any

SHORTCUTS: tuple[tuple[str, str, str, tuple[Any, ...]], ...] = (
    ("g", "Segment", "segment", ()),
    ("n", "Next scan", "next", ()),
    ("Ctrl+enter", "Submit, then next scan", "submit_and_next", ()),
    ("Ctrl+z", "Undo", "undo", ()),
    ("Ctrl+y", "Redo", "redo", ()),
    ("v", "View only: no tool", "tool", ("navigate",)),
    ("f", "Click on missed lesion", "tool", ("lesion",)),
    ("b", "Click on tissue that is not lesion", "tool", ("not_lesion",)),
    ("p", "Brush", "tool", ("paint",)),
    ("e", "Eraser", "tool", ("erase",)),
    ("x", "Scissors", "tool", ("scissors",)),
    ("a", "Click to add a region", "tool", ("add_region",)),
    ("r", "Click to remove an island", "tool", ("remove_island",)),
    ("[", "Smaller brush", "brush_size", (0.8,)),
    ("]", "Larger brush", "brush_size", (1.25,)),
    ("h", "Show or hide the mask", "toggle_mask", ()),
    ("u", "Next uncertain region", "next_uncertain", ()),
    ("o", "Overlay of the uncertainty", "overlay", ("uncertainty",)),
    ("t", "Tissues", "overlay", ("tissues",)),
    ("q", "Next sequence of the visit", "next_sequence", ()),
    ("1", "Axial view alone, or all four", "layout", ("Axial",)),
    ("2", "Coronal view alone, or all four", "layout", ("Coronal",)),
    ("3", "Sagittal view alone, or all four", "layout", ("Sagittal",)),
    ("4", "3D view alone, or all four", "layout", ("ThreeD",)),
    ("ArrowUp", "One axial slice up", "step", (1,)),
    ("ArrowDown", "One axial slice down", "step", (-1,)),
    ("0", "Fit the views to the scan", "fit", ()),
    ("Escape", "Cancel what is going on", "cancel", ()),
    ("?", "This list", "toggle", ("show_help",)),
)
"""Key, what it does, command, arguments."""

_PRETTY = {
    "ArrowUp": "↑",
    "ArrowDown": "↓",
    "Escape": "Esc",
    "Ctrl+enter": "Ctrl Enter",
    "Ctrl+z": "Ctrl Z",
    "Ctrl+y": "Ctrl Y",
}


def as_page_state() -> list[dict[str, Any]]:
    """Return the table as JSON for the page."""
    return [
        {
            "key": key,
            "shown": _PRETTY.get(key, key.upper()),
            "text": text,
            "command": command,
            "args": list(args),
        }
        for key, text, command, args in SHORTCUTS
    ]
