"""Layouts with one axial view per sequence."""

from __future__ import annotations

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
