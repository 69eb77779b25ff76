"""Batches of scans on a Dask cluster: processes of this machine, or a cluster that runs already.

Workers write results and tables themselves, so that the folder must be the same place for all of them. A worker that
dies loses nothing but its time: its scans go to another one, which keeps what is finished.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from strokelabel import __version__
from strokelabel.errors import OptionError, OutputError
from strokelabel.inference.batch import NamedScan, Row, ScanBatch, ScanTask, add_failed, run_problem, run_scan
from strokelabel.inference.network_input import silent
from strokelabel.io.file_search import SearchProblem, absolute_path

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S: Final = 15
"""Seconds to wait for a scheduler."""

_ADDRESS: Final = re.compile(r"(tcp|tls|ws|wss|ucxx?)://.")

MakeTask = Callable[[], ScanTask[Row]]
"""Makes the task of a batch, with its model, once in each process; a function that can be pickled."""


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Start processes on this machine that end with the block; they listen on 127.0.0.1 only.

    Args:
        workers: number of processes.

    Raises:
        OptionError: dask.distributed is not installed.
    """
    _check_installed()
    from distributed import Client, LocalCluster

    # No limit of memory: Dask's would kill a worker that predicts a large scan although the machine has enough.
    with (
        warnings.catch_warnings(action="ignore"),  # of another run that has the usual port
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address=None,
            preload=__name__,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def existing_cluster(address: str) -> Iterator[Client]:
    """Connect to a scheduler, and leave the cluster running after the block.

    Args:
        address: of the scheduler, such as "tcp://10.0.0.1:8786".

    Raises:
        OptionError: dask.distributed is not installed, no scheduler answers, it has no workers, or these have another
            version of StrokeLabel.
    """
    _check_installed()
    from distributed import Client

    wrong = f"expected the address of a Dask scheduler, such as tcp://10.0.0.1:8786; {address!r}"
    if not _ADDRESS.match(address):
        raise OptionError(f"{wrong} is none")
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise OptionError(f"{wrong} does not answer") from error
    with client:
        _check_workers(client, address)
        yield client


def dask_setup(_: object) -> None:
    """Let Ctrl-C end the command alone, which ends its workers; Dask calls this in each of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check_installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise OptionError(
            'expected dask.distributed, which is not installed; pip install "strokelabel[cluster]"'
        ) from error


def _check_workers(client: Client, address: str) -> None:
    """Refuse a cluster that cannot do the work.

    Raises:
        OptionError: no workers, or another version of StrokeLabel.
    """
    versions = client.run(_version)
    if not versions:
        raise OptionError(f"expected workers at the Dask scheduler {address}, found none; start some")
    others = {found for found in versions.values() if found != __version__}
    if others:
        raise OptionError(
            f"expected StrokeLabel {__version__} on all workers, found {', '.join(sorted(others))}; install one"
        )


def _version() -> str:
    try:
        from strokelabel import __version__ as version
    except ImportError:
        return "none"
    return version


def run_on_cluster(make_task: MakeTask[Row], batch: ScanBatch, client: Client) -> Iterator[Row]:
    """Do scans in the processes of a cluster, and yield each row when its scan is done.

    What is not begun is cancelled when the iteration ends early.

    Args:
        make_task: called in each process.
        batch: the scans; those of a group are done by one process.
        client: of the cluster.

    Raises:
        OutputError: a table cannot be written.
        StrokeLabelError: of `make_task`.
    """
    from distributed import KilledWorker, as_completed

    run = uuid.uuid4().hex

    def submit(work: Callable[..., list[Row]], *arguments: object) -> Future[list[Row]]:
        return client.submit(work, make_task, run, *arguments, pure=False)

    groups = [tuple((absolute_path(scan), stem) for scan, stem in group) for group in batch.groups]
    futures: dict[Any, tuple[NamedScan, ...]] = {submit(_run_group, group): group for group in groups}
    if batch.problems:
        futures[submit(_run_problems, batch.problems)] = ()
    try:
        for future in as_completed(list(futures)):
            try:
                rows = future.result()
            except KilledWorker:
                rows = _failed_rows(submit(_fail_group, futures[future]))
            yield from rows
    finally:
        client.cancel(list(futures))


def _failed_rows(future: Future[list[Row]]) -> list[Row]:
    """Return the rows of scans that could not be done.

    Raises:
        OutputError: the processes are killed whatever they do.
    """
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise OutputError(
            "expected processes that live, all are killed, as happens where memory is short; use fewer workers, "
            "and the same command to continue"
        ) from error


_lock: Final = threading.Lock()
_tasks: Final[dict[str, ScanTask[Any]]] = {}


@contextlib.contextmanager
def _own_task(make_task: MakeTask[Row], run: str) -> Iterator[ScanTask[Row]]:
    """Give this process's task of a run, made at first use; one thread of a worker at a time uses it."""
    with _lock:
        if run not in _tasks:
            _tasks.clear()  # the model of an earlier run
            _tasks[run] = make_task()
        yield _tasks[run]


def _run_group(make_task: MakeTask[Row], run: str, group: Sequence[NamedScan]) -> list[Row]:
    with _own_task(make_task, run) as task:
        return [run_scan(task, scan, stem, silent) for scan, stem in group]


def _run_problems(make_task: MakeTask[Row], run: str, problems: Sequence[SearchProblem]) -> list[Row]:
    with _own_task(make_task, run) as task:
        return [run_problem(task, problem) for problem in problems]


def _fail_group(make_task: MakeTask[Row], run: str, group: Sequence[NamedScan]) -> list[Row]:
    with _own_task(make_task, run) as task:
        return [
            add_failed(
                task,
                str(absolute_path(scan)),
                f"{scan}: every process that was given this scan was killed, as happens where memory is short; "
                "use fewer workers",
            )
            for scan, _ in group
        ]
