"""Networks on ONNX Runtime, on the CPU: prediction without torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

import numpy as np
import onnxruntime

from strokelabel.errors import WeightsError
from strokelabel.inference.device import cpu_threads, voxels_that_fit
from strokelabel.inference.engine import DeviceMemoryError
from strokelabel.inference.interruption import check_interruption, is_interruptible
from strokelabel.networks.onnx_graph import INPUT, OUTPUT, onnx_model
from strokelabel.registry import ModelSpec

ENGINE: Final = "onnxruntime"

_CHECK_SECONDS = 0.05
"""Time between two looks at whether a pass is to be interrupted."""

_ONLY_ERRORS = 3


class OnnxNetwork:
    """A model on ONNX Runtime, as an `engine.EngineNetwork`.

    Attributes:
        threads: of the CPU.

    Args:
        spec: a model of which `onnx_graph.has_onnx_form` is true.
        threads: of the CPU; None for as many as `device.cpu_threads` says.

    Raises:
        WeightsError: a damaged file, or weights that do not fit the description.
    """

    device = "cpu"

    def __init__(self, spec: ModelSpec, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        self._spec = spec
        self.threads = threads or cpu_threads()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _ONLY_ERRORS
        # The arena keeps the memory of the largest pass for ever, and waiting threads would spin.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                onnx_model(spec), options, providers=["CPUExecutionProvider"]
            )
        except RuntimeError as error:
            raise WeightsError(f"ONNX Runtime cannot load it ({error})", source=spec.path) from error

    def __reduce__(self) -> tuple[type[OnnxNetwork], tuple[ModelSpec, int]]:
        """Return what another process makes it from: the weights file, which it must see."""
        return OnnxNetwork, (self._spec, self.threads)

    def run(self, volume: np.ndarray) -> np.ndarray:
        """Run one pass; see `EngineNetwork.run`. It ends early where `check_interruption` raises."""
        if not is_interruptible():
            return self._pass(volume, None)
        options = onnxruntime.RunOptions()
        answer: Future[np.ndarray] = Future()
        worker = threading.Thread(target=_answer, args=(answer, self._pass, volume, options), daemon=True)
        check_interruption()
        worker.start()
        try:
            while worker.is_alive():
                worker.join(_CHECK_SECONDS)
                check_interruption()
        except BaseException:
            options.terminate = True
            worker.join()
            raise
        return answer.result()

    def voxels_that_fit(self) -> int:
        """Return the number of voxels that one pass may have."""
        return voxels_that_fit("cpu")

    def free_memory(self) -> None:
        """Return; nothing is left of an attempt that failed."""

    @contextmanager
    def on_cpu(self) -> Iterator[OnnxNetwork]:
        """Return itself; it is there already."""
        yield self

    def _pass(self, volume: np.ndarray, options: onnxruntime.RunOptions | None) -> np.ndarray:
        try:
            found: np.ndarray = self._session.run([OUTPUT], {INPUT: volume}, options)[0]
        except RuntimeError as error:
            if "allocat" in str(error):
                raise DeviceMemoryError(str(error)) from error
            raise
        return found


def _answer(
    answer: Future[np.ndarray],
    run: Callable[[np.ndarray, onnxruntime.RunOptions], np.ndarray],
    volume: np.ndarray,
    options: onnxruntime.RunOptions,
) -> None:
    """Run a pass in a thread, and keep what it returns or raises."""
    try:
        answer.set_result(run(volume, options))
    except BaseException as error:
        answer.set_exception(error)
