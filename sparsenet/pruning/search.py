"""How much of each layer goes, found from tables of errors and costs: the least error that a budget allows.

Arrays only: where the errors and the costs come from (a measured time, bytes, multiply-adds) is the caller's.
"""

from collections.abc import Callable
from fractions import Fraction
from math import ceil

import numpy as np

from ..checks import check_count, check_plain

SPREADS = 1.0, 0.1  # of the logarithms of coefficients, at the first trial and at the last
MOVED = 0.5  # of the coefficients, on average, in one trial
BINS = 2000  # of the budget: L layers lose at most L / 2000 of what lies above the cheapest choice


class BudgetError(ValueError):
    """Even the cheapest choice costs more: `least` is its cost, `choice` the option that it takes of each layer."""

    def __init__(self, budget: float, least: float, choice: tuple[int, ...] = ()):
        super().__init__(f"budget must be at least {least:.6g}, the cost of the cheapest choice, not {budget:.6g}")
        self.budget, self.least, self.choice = budget, least, choice


def allocate(errors: np.ndarray, costs: np.ndarray, budget: float, *, bins: int = BINS) -> tuple[int, ...]:
    """The option of each layer that makes the sum of errors least while the sum of costs stays within the budget.

    Parameters
    ----------
    errors, costs : arrays (L, S)
        Of each layer with each of its options, for instance sparsities in ascending order; any unit, finite.
    budget : float
        What the costs may be in all.
    bins : int
        Steps into which the budget is cut: the work grows with them, and what rounding loses shrinks.

    Returns
    -------
    tuple of L ints
        The option of each layer. The sum of its exact costs is never above the budget.

    Raises
    ------
    BudgetError
        A ValueError that names the least budget. It has the cheapest choice too.

    Notes
    -----
    Dynamic programming over the budget, as in SPDY (Frantar & Alistarh 2022):

    d[l][t] = min over s of d[l-1][t - t_ls] + e_ls,   d[0][0] = 0

    is the least error of the first l layers at a cost of exactly t bins; the answer is the least d[L][t] of all t.
    With m_l the cheapest option's cost of each layer, all of the budget B that there is to give away is B - sum_l m_l,
    and

    t_ls = ceil(bins (c_ls - m_l) / (B - sum_l m_l))

    in exact arithmetic. Rounded up, no sum is above the budget, and the cheapest choice always fits. What is found is
    at least as good as any choice that stays L bins below the budget; where all costs are whole bins it is the optimum.

    Of equal errors the choice of the most bins is taken (what a budget allows need not be saved), of these the lower
    option (the denser one, where sparsities ascend) of the last layer, then of the one before it, and so on.

    Examples
    --------
    Two layers at 0, 50 and 90 %. Of 13 units of cost the second layer, which suffers more, gets all that it may take:

    >>> errors = np.array([[0.0, 1.0, 5.0], [0.0, 7.0, 30.0]])
    >>> costs = np.array([[8.0, 4.0, 0.8], [8.0, 4.0, 0.8]])
    >>> allocate(errors, costs, 13)
    (1, 0)
    >>> allocate(errors, costs, 1)
    Traceback (most recent call last):
    sparsenet.pruning.search.BudgetError: budget must be at least 1.6, the cost of the cheapest choice, not 1
    """
    errors, costs = _check_table("errors", errors), _check_table("costs", costs)
    if errors.shape != costs.shape:
        raise ValueError(f"errors and costs must have one shape, not {errors.shape} and {costs.shape}")
    if not np.isfinite(budget):
        raise ValueError(f"budget must be a finite number, not {budget!r}")
    steps = _in_bins(costs, budget, check_count("bins", bins))
    best, chosen = np.full(bins + 1, np.inf), []
    best[0] = 0
    for layer_errors, layer_steps in zip(errors, steps, strict=True):
        tried = np.full((len(layer_steps), bins + 1), np.inf)
        for option, step in enumerate(layer_steps):
            if step <= bins:
                tried[option, step:] = best[: bins + 1 - step] + layer_errors[option]
        chosen.append(tried.argmin(axis=0))  # the first of equal ones
        best = tried.min(axis=0)
    left, choice = int(np.flatnonzero(best == best.min())[-1]), []
    for options, layer_steps in zip(reversed(chosen), reversed(steps), strict=True):
        choice.append(int(options[left]))
        left -= layer_steps[choice[-1]]
    return tuple(reversed(choice))


def norm_lost(weight: np.ndarray, mask: np.ndarray) -> float:
    """How much of a layer's norm its mask takes away, by its logarithm: an error for `allocate` that needs no data.

    0 where all stays, and without bound for all of a layer: signals pass the layers one after another, and their norms
    multiply. How much a layer's loss would tell, with it alone pruned and nothing retrained, is no part of it.

    Notes
    -----
    e(m) = - ln(||m w||^2 / ||w||^2)

    With the smallest weights gone it is - sum of ln(1 - I_u) over them, I_u = w_u^2 / sum over v >= u of w_v^2 the
    score of `lamp` (Lee et al. 2021): where each weight costs the same, the least sum of errors is about what global
    pruning by that score finds; with times or bytes as costs it is more than that.

    Examples
    --------
    >>> weight = np.array([[1.0, 2.0], [3.0, -4.0]])
    >>> round(norm_lost(weight, np.abs(weight) > 2), 4)  # 25 of 30 stay: -ln(5 / 6)
    0.1823
    """
    whole, left = (float(np.square(part, dtype=np.float64).sum()) for part in (weight, weight[mask]))
    return 0.0 if left == whole else -float(np.log(max(left, np.finfo(float).tiny) / whole))


def search_coefficients(
    judge: Callable[[np.ndarray], float], layers: int, trials: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """The coefficients c > 0 of the layers' errors that `judge` finds best of those tried, and what it says of them.

    Parameters
    ----------
    judge : function
        Of coefficients (layers,): the loss of the network that `allocate(c[:, None] * errors, ...)` makes, for
        instance. The lower, the better.
    trials : int
        Calls of it, after one for coefficients that are all 1; 0 for none.

    Notes
    -----
    Errors of single layers do not add up, nor do they say what retraining heals. SPDY (Frantar & Alistarh 2022, section
    3) therefore takes c_l e_l(s) for the errors, and looks for the c_l by a local search whose steps get smaller:

    ln c' = ln c + sigma_k z,   z_l ~ N(0, 1) for about half of the layers, else 0

    at trial k, around the best c so far; sigma_k falls from 1 to 1/10, by the same factor each time. (The paper draws c
    from [0, 1] first, and then draws a falling number of single coefficients anew.)

    Examples
    --------
    >>> away_from = lambda c: float(np.abs(np.log(c) - np.log([0.5, 2.0])).sum())
    >>> c, loss = search_coefficients(away_from, 2, 100, np.random.default_rng(0))
    >>> away_from(np.ones(2)) > 1, loss < 0.1
    (True, True)
    """
    check_count("layers", layers)
    check_count("trials", trials, at_least=0)
    best = np.ones(layers)
    least = judge(best)
    first, last = SPREADS
    for trial in range(trials):
        spread = first * (last / first) ** (trial / max(1, trials - 1))
        moved = rng.random(layers) < MOVED
        tried = best * np.exp(spread * moved * rng.standard_normal(layers))
        loss = judge(tried)
        if loss < least:
            best, least = tried, loss
    return best, least


def _check_table(name: str, table: np.ndarray) -> np.ndarray:
    table = np.asarray(check_plain(name, table))
    if table.ndim != 2 or not table.size or table.dtype.kind not in "fiu" or not np.isfinite(table).all():
        raise ValueError(
            f"{name} must be finite real numbers of shape (layers, options), at least one of each, "
            f"not {table.dtype} of shape {table.shape}"
        )
    return table.astype(np.float64)


def _in_bins(costs: np.ndarray, budget: float, bins: int) -> list[list[int]]:
    """Costs above each layer's cheapest option, in bins of the rest of the budget, rounded up; at most bins + 1.

    Fractions, for a float quotient may round below the whole number that it is just above.
    """
    exact = [[Fraction(cost) for cost in row] for row in costs.tolist()]
    least = [min(row) for row in exact]
    rest = Fraction(float(budget)) - sum(least)
    if rest < 0:
        raise BudgetError(budget, float(sum(least)), tuple(costs.argmin(axis=1).tolist()))
    above = [[cost - low for cost in row] for row, low in zip(exact, least, strict=True)]
    return [[min(bins + 1, ceil(bins * a / rest)) if rest else (bins + 1) * (a > 0) for a in row] for row in above]
