"""A view that remembers what it was told to show, and holds the mask as 3D Slicer does: right-handed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from StrokeLabelLib.client.api import Client
from StrokeLabelLib.client.jobs import SyncRunner
from StrokeLabelLib.session.case import Case
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.settings import Settings
from StrokeLabelLib.session.view import Overlay, Prompt, Question, ViewState
from StrokeLabelLib.volume import Volume


class FakeView:
    """Answers questions with what the test put into `answers`, else with the first."""

    def __init__(self) -> None:
        self.states: list[ViewState] = []
        self.case: Case | None = None
        self.mask: Volume | None = None
        self.overlay: Overlay | None = None
        self.prompts: tuple[Prompt, ...] = ()
        self.errors: list[str] = []
        self.questions: list[Question] = []
        self.answers: list[str] = []
        self.at_mm: tuple[float, ...] | None = None

    @property
    def state(self) -> ViewState:
        return self.states[-1]

    def render(self, state: ViewState) -> None:
        self.states.append(state)

    def show_case(self, case: Case | None) -> None:
        self.case = case

    def show_mask(self, mask: Volume) -> None:
        self.mask = flipped_if_left_handed(mask)

    def show_overlay(self, overlay: Overlay | None) -> None:
        self.overlay = overlay

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        self.prompts = prompts

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        self.at_mm = point_mm

    def show_error(self, sentence: str) -> None:
        self.errors.append(sentence)

    def ask(self, question: Question, reply: Callable[[str], None]) -> None:
        self.questions.append(question)
        reply(self.answers.pop(0) if self.answers else next(iter(question.answers)))

    def paint(
        self, presenter: Presenter, points_mm: list[np.ndarray], value: int = 1, name: str = "Paint"
    ) -> None:
        """Set the voxels at points, in whatever order this view holds them."""
        assert self.mask is not None
        data = self.mask.data.copy()
        for point in points_mm:
            data[self.mask.grid.to_voxel(point)] = value
        self.mask = self.mask.with_data(data)
        presenter.editing.mask_edited(self.mask, name)


class Clock:
    """Stands still unless told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_presenter(
    folder: Path, view: FakeView | None = None, **changes: Any
) -> tuple[Presenter, FakeView, Clock]:
    """A presenter that works at once, waits for nothing, and keeps its files in a folder."""
    view, clock = view or FakeView(), Clock()
    settings = Settings(client_id="reader 1", **changes)

    def make_client(url: str, token: str, client_id: str) -> Client:
        return Client(url, token, client_id, sleep=lambda seconds: None, read_s=30)

    presenter = Presenter(view, SyncRunner(), settings, folder, make_client=make_client, clock=clock)
    presenter.start()
    return presenter, view, clock


def flipped_if_left_handed(volume: Volume) -> Volume:
    """What 3D Slicer makes of a volume: k reversed where the axes are left-handed."""
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (volume.data.shape[2] - 1)
    affine[:3, 2] *= -1
    return Volume(np.ascontiguousarray(volume.data[:, :, ::-1]), affine)
