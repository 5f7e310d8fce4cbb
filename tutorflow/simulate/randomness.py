"""Random numbers that belong to one learner and one moment.

A draw is a hash of (seed, stream, learner, step), never the next number of a shared generator. So
adding a learner, asking for events hour by hour or week by week, or intervening with one learner
leaves every other draw as it was.
"""

from __future__ import annotations

import math
import random
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


class Stream(IntEnum):
    """What a draw is for; two purposes never share a number."""

    TRAITS = 1
    ITEMS = 2
    SESSION_START = 3
    SESSION = 4
    MOTIVATION = 5
    SHOCK = 6
    QUIT = 7
    BREAK = 8
    GAMING = 9
    BELIEF = 10
    LIVE = 11
    LATENESS = 12
    INTERVENTION = 13
    NUDGE = 14
    DISTRESS = 15


def mix(seed: int, stream: Stream, learner: int, step: int = 0) -> int:
    """A 64-bit hash of the four numbers (splitmix64's finaliser, twice)."""
    value = (seed * _GOLDEN + stream * _FIRST + 1) & _MASK
    value = _finalise((value + learner * _GOLDEN) & _MASK)
    return step_in(value, step)


def step_in(stream: int, step: int) -> int:
    """The 64-bit hash of one step of a stream that was mixed before."""
    return _finalise((stream + step * _GOLDEN) & _MASK)


def _finalise(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def generator(seed: int, stream: Stream, learner: int, step: int = 0) -> random.Random:
    """A generator of its own for one learner, purpose and step."""
    return random.Random(mix(seed, stream, learner, step))


def uniforms(seed: int, stream: Stream, learners: int, step: int) -> Floats:
    """One uniform number in [0, 1) for each of the learners 0 .. learners-1, shape (learners,)."""
    base = np.uint64((seed * _GOLDEN + stream * _FIRST + 1) & _MASK)
    numbers = np.arange(learners, dtype=np.uint64)
    value = _finalise_array(base + numbers * np.uint64(_GOLDEN))
    value = _finalise_array(value + np.uint64((step * _GOLDEN) & _MASK))
    return (value >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _finalise_array(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    mixed: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed


def normals(seed: int, stream: Stream, learners: int, step: int) -> Floats:
    """One standard normal number per learner, shape (learners,) (Box and Muller's form)."""
    first = uniforms(seed, stream, learners, 2 * step)
    second = uniforms(seed, stream, learners, 2 * step + 1)
    radius = np.sqrt(-2.0 * np.log1p(-first))
    drawn: Floats = radius * np.cos(2.0 * math.pi * second)
    return drawn


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), safe at both ends."""
    if x < -40.0:
        return 0.0
    if x > 40.0:
        return 1.0
    return 1.0 / (1.0 + math.exp(-x))


def logistics(x: Floats) -> Floats:
    """`logistic` of every element."""
    squashed: Floats = 1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0)))
    return squashed
