"""Groups of images that were asked for and have not been taken yet."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass

from strokelabel.fit.generation.source import ImageSource
from strokelabel.fit.streams import Batch


@dataclass(frozen=True)
class _Request:
    """A group on its way, and the first position of the stream that needs it."""

    position: int
    made: Future[Batch]


class PendingGroups:
    """Asks for each group once, and forgets those that nobody will take any more.

    Args:
        source: makes the groups.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._requests: dict[int, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def ask(self, group: int, position: int) -> None:
        """Ask for a group that a position needs, unless it is on its way."""
        if group not in self._requests:
            self._requests[group] = _Request(position, self._source.submit(group))

    def take(self, group: int) -> Batch:
        """Wait for a group that was asked for; raises what prevented it."""
        return self._requests.pop(group).made.result()

    def drop(self, before: int | None, keep: Collection[int]) -> None:
        """Cancel groups, except some.

        Args:
            before: those that only positions before this one need; None for all.
            keep: groups that stay.
        """
        for group, request in list(self._requests.items()):
            if group not in keep and (before is None or request.position < before):
                self._requests.pop(group).made.cancel()
