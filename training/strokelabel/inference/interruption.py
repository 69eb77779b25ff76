"""Interruption of long computations: a check that a thread makes before every layer of a network of torch.

A pass of the network, or an iteration of an adaptation, takes seconds on a busy processor: with checks between passes
alone, a user who cancels would wait as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

Check = Callable[[], None]
"""Called often; returns at once, or raises, which ends the computation."""

_check: ContextVar[Check | None] = ContextVar("check", default=None)


@contextmanager
def interruptible(network: nn.Module | None, check: Check) -> Iterator[None]:
    """Within the block, let computations of this thread end with whatever `check` raises.

    It is called before every layer of the network, forwards and (on the CPU) backwards, and before a class is brought
    to the scan's grid; on ONNX Runtime, many times a second. Results are the same with and without.

    Args:
        network: left without checks in the end; None for one on ONNX Runtime, which asks by itself.
        check: see `Check`.
    """
    token, handles = _check.set(check), [] if network is None else add_checks(network)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        _check.reset(token)


def is_interruptible() -> bool:
    """Return whether there is a check in this thread."""
    return _check.get() is not None


def check_interruption() -> None:
    """Continue, unless the check of this thread raises; without one, always continue."""
    check = _check.get()
    if check is not None:
        check()


def add_checks(network: nn.Module) -> list[RemovableHandle]:
    """Let every layer of a network call `check_interruption` before it computes; return what removes that again."""
    layers = [layer for layer in network.modules() if next(layer.children(), None) is None]
    return [
        *(layer.register_forward_pre_hook(_before) for layer in layers),
        *(layer.register_forward_hook(_after) for layer in layers),
    ]


def _before(_layer: nn.Module, _inputs: object) -> None:
    check_interruption()


def _after(_layer: nn.Module, _inputs: object, output: object) -> None:
    """Check again when the gradient of a layer is about to be computed."""
    if getattr(output, "requires_grad", False):
        output.register_hook(lambda _gradient: check_interruption())  # type: ignore[attr-defined]
