"""What the processes of one run decide together, so that clocks and signals cannot part them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric


class Agreement:
    """Small numbers exchanged between processes on the CPU, so that no GPU has to be waited for.

    Args:
        fabric: launched; with one process, everything is agreed at once.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._group: Any = torch.distributed.new_group(backend="gloo") if fabric.world_size > 1 else None

    def largest(self, *values: int) -> list[int]:
        """Of each value, the largest that any process gave; every process must ask.

        Raises:
            RuntimeError: another process has ended.
        """
        if self._group is None:
            return list(values)
        table = torch.tensor(values)
        torch.distributed.all_reduce(table, torch.distributed.ReduceOp.MAX, group=self._group)
        return [int(value) for value in table]
