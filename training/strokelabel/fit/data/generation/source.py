"""Makers of images: the trainer itself here, other processes in `strokelabel.fit.data.generation.processes`."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from strokelabel.fit.data.stream import Batch, ItemStream


class ImageSource(Protocol):
    """Source of images in groups: group g holds the items g * together to (g + 1) * together - 1 of a stream.

    Groups are made as a whole and always in the same way, so that the values of an image depend neither on who asks
    for it nor on what is made beside it.
    """

    @property
    def ahead(self) -> int:
        """Groups that are worth asking for before they are needed."""
        ...

    def submit(self, group: int) -> Future[Batch]:
        """Ask for a group.

        Returns:
            Its images in order, on any device, once they are made; or the error that prevented it.
        """
        ...

    def close(self) -> None:
        """End what was begun; nothing may be requested afterwards."""
        ...


class LocalSource:
    """Source that makes each group synchronously, in the calling thread.

    Args:
        stream: makes the images.
        together: images of a group.
    """

    ahead = 0

    def __init__(self, stream: ItemStream, together: int = 1) -> None:
        self.stream = stream
        self.together = together

    def submit(self, group: int) -> Future[Batch]:
        """Make a group; an error is raised by the future's `result`."""
        made: Future[Batch] = Future()
        first = group * self.together
        try:
            made.set_result(self.stream.items(range(first, first + self.together)))
        except Exception as error:  # it is raised where the result is read
            made.set_exception(error)
        return made

    def close(self) -> None:
        """Do nothing: requested groups are finished."""
