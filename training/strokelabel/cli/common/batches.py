"""Batches of scans from the command line: all of them here, a part, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from strokelabel.cli.common.options import follow_scans
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client

    from strokelabel.inference.batch import Part, Row, ScanBatch
    from strokelabel.inference.distributed import MakeTask


PartOption = Annotated[
    str | None,
    typer.Option("--part", metavar="I/N", help="Do part I of N, beside other parts in the same folder."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Do scans in so many processes of this machine, which share its cores (Dask)."),
]
DaskAddress = Annotated[
    str | None,
    typer.Option("--dask", metavar="ADDRESS", help="Do scans on the cluster of this Dask scheduler."),
]


Name = TypeVar("Name", str, "str | None")


@dataclass(frozen=True)
class Sharing:
    """Processes that do a batch of scans.

    Attributes:
        part: (i, n) where this process is one of several that were given the same scans; None for all scans.
        workers: processes of this machine; None for this process itself.
        address: of a Dask scheduler; None for none.
    """

    part: Part | None = None
    workers: int | None = None
    address: str | None = None

    @classmethod
    def of(cls, part: str | None, workers: int | None, address: str | None) -> Sharing:
        """Read the options of a command.

        Raises:
            OptionError: no such part, or two clusters.
        """
        from strokelabel.inference.batch import parse_part

        if workers is not None and address is not None:
            raise OptionError(
                "expected --workers or --dask, got both; the cluster of --dask has its own workers"
            )
        return cls(parse_part(part), workers, address)

    def threads(self, threads: int | None) -> int | None:
        """Return the threads of each process: those that were chosen, or a share of this machine's cores."""
        if threads is not None or self.workers is None:
            return threads
        return max(1, (os.cpu_count() or 1) // self.workers)

    @staticmethod
    def place(name: Name) -> Name:
        """Return the name of a model, or the path of its file as processes with another working folder find it."""
        if name is None:
            return None
        return str(Path(name).absolute()) if Path(name).is_file() else name

    def cluster(self) -> AbstractContextManager[Client]:
        """Return the cluster's client, to be entered."""
        from strokelabel.inference.distributed import existing_cluster, local_cluster

        return local_cluster(self.workers or 1) if self.address is None else existing_cluster(self.address)


def run_batch(
    make_task: MakeTask[Row], batch: ScanBatch, sharing: Sharing, report: Callable[[Row], None]
) -> int:
    """Do scans, or this process's part of them, with a progress bar and a line for each; return how many failed.

    Args:
        make_task: makes what is done with each scan; called in each process of a cluster, and pickled for that.
        batch: all scans.
        sharing: where they are done.
        report: prints a row.

    Raises:
        StrokeLabelError: of `make_task`, or a table cannot be written.
    """
    from strokelabel.inference.batch import run_scans

    own = batch.part(sharing.part)
    if sharing.workers is None and sharing.address is None:
        task = make_task()
        return follow_scans(lambda progress: run_scans(task, own, progress), len(own), report)

    from strokelabel.inference.distributed import run_on_cluster

    with sharing.cluster() as client:
        return follow_scans(lambda _: run_on_cluster(make_task, own, client), len(own), report)
