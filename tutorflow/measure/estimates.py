"""The numbers behind a comparison of two groups: estimates, intervals, looks, power.

Everything takes plain arrays, one entry per learner: ``outcome`` (float), ``is_treated`` (bool),
``covariates`` (n x k, known before the assignment) and ``weight`` (1 / probability of the group the
learner was assigned to; None: the same for all). Own numpy, so that nothing is hidden in a package:
regression with HC2 errors (MacKinnon & White 1985), adjustment by Lin (2013), CUPED (Deng 2013),
always-valid p-values by the mixture SPRT (Johari 2015; METHODS 5), overlap weights (Li 2018), and
selected intervals (Benjamini & Yekutieli 2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """Treated minus control, in units of the outcome (0.05 of a share is five points)."""

    effect: float
    std_error: float
    degrees: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The effect's interval for one look planned beforehand."""
        margin = student_quantile(1 - level, self.degrees) * self.std_error
        return self.effect - margin, self.effect + margin

    @property
    def p_value(self) -> float:
        """Two-sided, for one look planned beforehand."""
        if self.std_error == 0:
            return 1.0 if self.effect == 0 else 0.0
        return student_p(self.effect / self.std_error, self.degrees)


# -- one look --------------------------------------------------------------------------------------


def difference_in_means(
    outcome: Floats, is_treated: Flags, weight: Floats | None = None
) -> Estimate:
    """Mean of the treated minus mean of the control group, HC2 errors."""
    return _treated_coefficient(outcome, is_treated, np.empty((len(outcome), 0)), weight)


def cuped(
    outcome: Floats, is_treated: Flags, covariates: Floats, weight: Floats | None = None
) -> Estimate:
    """Difference in means after taking out what the covariates foretold, one slope for all."""
    centred = covariates - _mean(covariates, weight)
    moments = centred.T @ (centred * _column(weight, len(outcome)))
    told = centred.T @ ((outcome - _mean(outcome, weight)) * _column(weight, len(outcome))[:, 0])
    slopes = np.linalg.pinv(moments, hermitian=True) @ told
    return difference_in_means(outcome - centred @ slopes, is_treated, weight)


def lin(
    outcome: Floats, is_treated: Flags, covariates: Floats, weight: Floats | None = None
) -> Estimate:
    """Regression on the group, the centred covariates and their products with it, HC2 errors.

    Never less precise than the plain difference in a large trial, whatever the covariates are.
    """
    centred = covariates - _mean(covariates, weight)
    products = centred * is_treated[:, None]
    return _treated_coefficient(outcome, is_treated, np.hstack([centred, products]), weight)


def _treated_coefficient(
    outcome: Floats, is_treated: Flags, others: Floats, weight: Floats | None
) -> Estimate:
    treated = is_treated.astype(np.float64)
    design = np.column_stack([np.ones(len(outcome)), treated, others])
    coefficients, covariance = regression(outcome, design, weight)
    smaller = min(int(is_treated.sum()), int((~is_treated).sum()))
    degrees = max(1.0, smaller - 1 - others.shape[1] / 2)
    return Estimate(float(coefficients[1]), math.sqrt(max(covariance[1, 1], 0.0)), degrees)


def regression(
    outcome: Floats, design: Floats, weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """Coefficients and their HC2 covariance, of (weighted) least squares.

    HC2 divides each squared residual by one minus its leverage; for a plain difference in means
    that is the textbook error with a variance of its own in each group. Columns that repeat others
    share their coefficient.
    """
    root = np.sqrt(_column(weight, len(outcome)))
    scaled, target = design * root, outcome * root[:, 0]
    inverse = np.linalg.pinv(scaled.T @ scaled, hermitian=True, rcond=1e-12)
    coefficients = inverse @ (scaled.T @ target)
    projected = scaled @ inverse
    leverage = np.clip(np.einsum("ij,ij->i", projected, scaled), 0.0, 1 - 1e-9)
    squared = (target - scaled @ coefficients) ** 2 / (1 - leverage)
    return coefficients, projected.T @ (projected * squared[:, None])


def _column(weight: Floats | None, count: int) -> Floats:
    return np.ones((count, 1)) if weight is None else weight[:, None]


def _mean(values: Floats, weight: Floats | None) -> Floats:
    if weight is None:  # np.average divides by zero where there is no column
        return np.asarray(values.mean(axis=0))
    return np.asarray(np.average(values, axis=0, weights=weight))


# -- many looks ------------------------------------------------------------------------------------


def looks(
    outcome: Floats,
    is_treated: Flags,
    covariates: Floats,
    look: NDArray[np.int64],
    count: int,
    min_per_arm: int,
    weight: Floats | None = None,
) -> tuple[Floats, Floats]:
    """The adjusted effect and its variance at each of ``count`` looks, as two arrays.

    ``look`` says at which look (0, 1, ...) a learner's outcome is first known. Nothing before both
    groups have ``min_per_arm`` learners: the variance is infinite there. The estimator is Lin's,
    written as one regression per group, so that running sums serve all looks at once.
    """
    given = np.ones(len(outcome)) if weight is None else weight
    rows = np.column_stack([np.ones(len(outcome)), covariates, outcome])
    sums = {
        arm: _running(rows[chosen], given[chosen], look[chosen], count)
        for arm, chosen in ((True, is_treated), (False, ~is_treated))
    }
    centre = sums[True].first + sums[False].first
    centre = centre[:, 1:-1] / np.maximum(centre[:, :1], 1e-300)
    enough = (sums[True].count >= min_per_arm) & (sums[False].count >= min_per_arm)
    treated, treated_variance = _adjusted_mean(sums[True], centre, enough)
    control, control_variance = _adjusted_mean(sums[False], centre, enough)
    return treated - control, treated_variance + control_variance


@dataclass(frozen=True)
class _Sums:
    """Running sums of one group: learners, w*row, w*row*row', w^2*row*row'; first axis = look."""

    count: NDArray[np.int64]
    first: Floats
    second: Floats
    squared: Floats


def _running(rows: Floats, weight: Floats, look: NDArray[np.int64], count: int) -> _Sums:
    products = rows[:, :, None] * rows[:, None, :]

    def total(values: Floats) -> Floats:
        summed = np.zeros((count, *values.shape[1:]))
        np.add.at(summed, look, values)
        return np.cumsum(summed, axis=0)

    return _Sums(
        np.cumsum(np.bincount(look, minlength=count)).astype(np.int64),
        total(rows * weight[:, None]),
        total(products * weight[:, None, None]),
        total(products * (weight**2)[:, None, None]),
    )


def _adjusted_mean(sums: _Sums, centre: Floats, enough: Flags) -> tuple[Floats, Floats]:
    """Mean of a group moved to the covariates' common mean, and its variance, at each look."""
    size = len(sums.count)
    mean, variance = np.zeros(size), np.full(size, np.inf)
    at = np.flatnonzero(enough)
    if not len(at):
        return mean, variance
    known = sums.second[at][:, :-1, :-1]
    slopes = np.linalg.pinv(known, hermitian=True, rcond=1e-12) @ sums.second[at][:, :-1, -1:]
    place = np.concatenate([np.ones((len(at), 1)), centre[at]], axis=1)
    mean[at] = np.einsum("ki,kij->k", place, slopes)
    residual = np.concatenate([-slopes, np.ones((len(at), 1, 1))], axis=1)[:, :, 0]
    spread = np.einsum("ki,kij,kj->k", residual, sums.squared[at], residual)
    free = np.maximum(sums.count[at] - known.shape[1], 1)
    total = sums.first[at, 0]
    variance[at] = np.maximum(spread, 0) / total**2 * sums.count[at] / free
    return mean, variance


def always_valid_p(effect: Floats, variance: Floats, expected: float) -> Floats:
    """The p-value that may be looked at every day, at each look (last axis); never rises.

    Mixture SPRT: Lambda = sqrt(v / (v + t2)) exp(d^2 t2 / (2 v (v + t2))), p = min(1 / Lambda),
    with t2 the square of the ``expected`` effect.
    """
    mixing = expected**2
    finite = np.isfinite(variance) & (variance > 0)
    v = np.where(finite, variance, 1.0)
    log_ratio = 0.5 * np.log(v / (v + mixing)) + effect**2 * mixing / (2 * v * (v + mixing))
    p = np.where(finite, np.exp(-np.minimum(log_ratio, 700.0)), 1.0)
    return np.asarray(np.minimum.accumulate(np.minimum(p, 1.0), axis=-1))


def always_valid_margin(variance: float, level: float, expected: float) -> float:
    """Half the interval around an effect that holds at every look at once."""
    mixing = expected**2
    inside = math.log(1 / (1 - level)) + 0.5 * math.log((variance + mixing) / variance)
    return math.sqrt(2 * variance * (variance + mixing) / mixing * inside)


# -- how many are enough ---------------------------------------------------------------------------


def needed_per_arm(
    variance_treated: float,
    variance_control: float,
    effect: float,
    error: float = 0.05,
    power: float = 0.8,
) -> int:
    """Learners in each of two equal groups to find ``effect`` with that power."""
    reach = _NORMAL.inv_cdf(1 - error / 2) + _NORMAL.inv_cdf(power)
    return math.ceil(reach**2 * (variance_treated + variance_control) / effect**2)


# -- many comparisons ------------------------------------------------------------------------------


def false_discovery(p_values: Floats, error: float) -> tuple[Flags, float]:
    """Which of a family stand at that false discovery rate, and the level of their intervals.

    Benjamini-Hochberg picks R of m; intervals at 1 - error R / m (R at least 1) then cover at the
    stated rate among those picked, and exclude zero exactly for those.
    """
    m = len(p_values)
    if m == 0:
        return np.zeros(0, dtype=np.bool_), 1 - error
    ordered = np.sort(p_values)
    passing = np.flatnonzero(ordered <= error * np.arange(1, m + 1) / m)
    found = int(passing[-1]) + 1 if len(passing) else 0
    limit = error * max(found, 1) / m
    return np.asarray((p_values <= limit) & (found > 0)), 1 - limit


def share_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share."""
    if n == 0:
        return 0.0, 1.0
    z = _NORMAL.inv_cdf(0.5 + level / 2)
    share, scale = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


# -- groups that were not drawn --------------------------------------------------------------------


@dataclass(frozen=True)
class Overlap:
    """A comparison of groups made alike by weights; what they cannot see stays different.

    ``before`` and ``after``: largest difference between the groups' means of a covariate, in
    standard deviations, without and with the weights. ``effective_n``: learners the weighted
    groups are worth.
    """

    estimate: Estimate
    before: float
    after: float
    effective_n: float


def overlap_weighted(outcome: Floats, is_treated: Flags, covariates: Floats) -> Overlap:
    """Treated minus control where the groups overlap, by regression with overlap weights.

    Each learner counts by the chance of having been in the other group, as foretold by the
    covariates (logistic regression); with them the groups' covariate means are equal.
    """
    chance = propensity(is_treated, covariates)
    weight = np.where(is_treated, 1 - chance, chance)
    weight = np.maximum(weight, 1e-9)
    varied = _standardised(covariates)
    estimate = _treated_coefficient(outcome, is_treated, varied, weight)
    return Overlap(
        estimate,
        _imbalance(varied, is_treated, np.ones(len(outcome))),
        _imbalance(varied, is_treated, weight),
        float(weight.sum() ** 2 / (weight**2).sum()),
    )


def propensity(is_treated: Flags, covariates: Floats, rounds: int = 50) -> Floats:
    """Chance of being treated given the covariates: logistic regression by Newton's method."""
    design = np.column_stack([np.ones(len(is_treated)), _standardised(covariates)])
    # A breath of ridge keeps perfectly separated groups finite; it moves nothing else.
    ridge = np.diag([0.0, *[1e-6] * (design.shape[1] - 1)])
    target, beta = is_treated.astype(np.float64), np.zeros(design.shape[1])
    chance = np.full(len(target), 0.5)
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (target - chance) - ridge @ beta
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + ridge
        step = np.linalg.pinv(bend, hermitian=True) @ slope
        beta = beta + step / max(1.0, float(np.abs(step).max()) / 5)
        if np.abs(step).max() < 1e-10:
            break
    return chance


def _standardised(covariates: Floats) -> Floats:
    spread = covariates.std(axis=0)
    varied = covariates[:, spread > 0]
    return np.asarray((varied - varied.mean(axis=0)) / spread[spread > 0])


def _imbalance(standardised: Floats, is_treated: Flags, weight: Floats) -> float:
    if standardised.shape[1] == 0:
        return 0.0
    one = np.average(standardised[is_treated], axis=0, weights=weight[is_treated])
    other = np.average(standardised[~is_treated], axis=0, weights=weight[~is_treated])
    return float(np.abs(one - other).max())


# -- Student's t without tables --------------------------------------------------------------------


def student_p(t: float, degrees: float) -> float:
    """Two-sided p-value of t, by Wallace's normal approximation (error below 0.001)."""
    z = math.sqrt(degrees * math.log1p(t * t / degrees)) * _wallace(degrees)
    return math.erfc(z / math.sqrt(2))


def student_quantile(error: float, degrees: float) -> float:
    """The t that is exceeded, in absolute value, with probability ``error``; undoes student_p."""
    z = -_NORMAL.inv_cdf(error / 2) / _wallace(degrees)
    return math.sqrt(degrees * math.expm1(z * z / degrees))


def _wallace(degrees: float) -> float:
    return (8 * degrees + 1) / (8 * degrees + 3)
