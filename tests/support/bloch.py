"""An independent Bloch simulation: magnetisation vectors stepped from event to event until nothing changes any more.

Nothing here is taken from the signal equations: pulses are rotation matrices, relaxation acts on vectors, crushers
dephase a set of isochromats, and the steady state is reached by repeating the sequence.
"""

from __future__ import annotations

import numpy as np

ISOCHROMATS = 8
_PHASES = 2 * np.pi * np.arange(ISOCHROMATS) / ISOCHROMATS


class Spins:
    """Unit magnetisation of several tissues: vectors (tissue, isochromat, xyz), float64.

    Args:
        r1, r2: (tissues,) rates in s^-1.
    """

    def __init__(self, r1, r2):
        self.r1, self.r2 = (np.asarray(rate, dtype=np.float64)[:, None] for rate in (r1, r2))
        self.m = np.zeros((self.r1.shape[0], ISOCHROMATS, 3))
        self.m[..., 2] = 1.0

    def rotate(self, degrees, axis="x"):
        """Turn every vector about an axis of the rotating frame."""
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        self.m = self.m @ (x if axis == "x" else y).T

    def wait(self, seconds):
        """Relax freely."""
        e1, e2 = np.exp(-seconds * self.r1), np.exp(-seconds * self.r2)
        self.m[..., 0] *= e2
        self.m[..., 1] *= e2
        self.m[..., 2] = 1 + (self.m[..., 2] - 1) * e1

    def crush(self):
        """Dephase the isochromats over one turn."""
        c, s = np.cos(_PHASES), np.sin(_PHASES)
        x, y = self.m[..., 0].copy(), self.m[..., 1].copy()
        self.m[..., 0], self.m[..., 1] = c * x - s * y, s * x + c * y

    def spoil(self):
        """Leave no transverse magnetisation, and no memory of the crushers in Mz."""
        self.m[..., :2] = 0
        self.m[..., 2] = self.m[..., 2].mean(axis=1, keepdims=True)

    def scale_mz(self, factor):
        """Invert incompletely (a negative factor), or saturate (a factor below one; one per tissue or one for all)."""
        self.m[..., 2] *= np.asarray(factor, dtype=np.float64).reshape(-1, 1)

    def signal(self):
        """Transverse magnetisation, (tissues,), complex."""
        return (self.m[..., 0] + 1j * self.m[..., 1]).mean(axis=1)


def steady_state(spins, repetition, most=4000):
    """Repeat until the echoes stay the same; returns those of the last repetition, (echoes, tissues)."""
    before = None
    for _ in range(most):
        echoes = np.array(repetition(spins))
        if before is not None and np.abs(echoes - before).max() <= 1e-9 * np.abs(echoes).max():
            return echoes
        before = echoes
    raise AssertionError("no steady state")


def spin_echo(spins, echo_time, recovery_time, transmit):
    """Excite, refocus, read, and relax until `recovery_time` after the refocusing pulse."""
    spins.rotate(90 * transmit, "x")
    spins.wait(echo_time / 2)
    spins.crush()
    spins.rotate(180 * transmit, "y")
    spins.crush()
    spins.wait(echo_time / 2)
    echo = spins.signal()
    spins.wait(recovery_time - echo_time / 2)
    spins.spoil()
    return echo


def train(spins, flip_angle, spacing, pulses, transmit, echo_time):
    """Excitations with spoiling in between; returns the echo of the central one."""
    center = None
    for pulse in range(pulses):
        spins.rotate(flip_angle * transmit, "x")
        if pulse == pulses // 2:
            spins.wait(echo_time)
            center = spins.signal()
            spins.wait(spacing - echo_time)
        else:
            spins.wait(spacing)
        spins.spoil()
    return center
