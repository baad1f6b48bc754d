"""Interval of a weighted sum of arms, sum_k c_k mean_k, from scores by run or by run and prompt.

Runs of one arm differ by seed, and all arms answer the same prompts; both are samples, so both add variance. With
Y_k[s, p] the score of arm k (mean over the images of a prompt), S_k seeds and P prompts:

    V_seed   = sum_k c_k^2 var_s(mean_p Y_k) / S_k
    V_prompt = var_p(sum_k c_k mean_s Y_k) / P
    V_e      = sum_k c_k^2 MSE_k / (S_k P)          (seed x prompt residual, which both terms above contain)
    V        = max(V_seed + V_prompt - V_e, V_seed, V_prompt)

and the interval is a t interval whose degrees of freedom follow Satterthwaite. For two arms (`compare`: weights 1 and
-1) this is the two-way interval; for scores by run V = V_seed, Welch's. An interval over prompts only covers 29 to 63 %
instead of 95 % as soon as seeds matter, and a percentile bootstrap over 3 seeds covers 82 %; this one covers 95 to
99 %.

Arms of one seed share data order and noise. In a difference of two arms what they share cancels, so that V_seed is at
most too large. Where several arms stand on one side it adds up: four joint arms that see the same questions in the same
order are no four runs. A contrast of more than two arms is therefore taken in each seed first, Z[s, p] = sum_k c_k
Y_k[s, p], and the formulas above apply to Z as the only term (the error of a factor in a split plot, seed x factor):
exact whatever the arms of a seed share, with S - 1 degrees of freedom. Runs counted as independent cover 75 % instead
of 95 % when what joint arms share has twice a run's own standard deviation (`tests/analysis/test_shared_seeds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from unimm.analysis.power import seeds_needed

Array = NDArray[np.float64]
# V_prompt and V_e, each by task, and the residual's degrees of freedom per seed: scores by run have none.
_NONE = (np.zeros(0), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Comparison:
    """A contrast with its t interval [low, high]; `n_items` is None for scores by run.

    `lasting_error` is the prompts' share of the standard error, which more seeds do not take away.
    """

    estimate: float
    low: float
    high: float
    df: float
    n_seeds: int
    n_items: int | None
    standard_error: float
    lasting_error: float = 0.0

    @property
    def note(self) -> str:
        """Nothing beside the numbers."""
        return ""

    def interval(self, alpha: float) -> tuple[float, float]:
        """t interval at level 1 - alpha."""
        return _interval(self.estimate, self.standard_error, self.df, alpha)

    def tails(self, null: float) -> tuple[float, float]:
        """One-sided p-values of "at most `null`" and of "at least `null`"."""
        if self.standard_error == 0:
            return float(self.estimate <= null), float(self.estimate >= null)
        t = (self.estimate - null) / self.standard_error
        return float(stats.t.sf(t, self.df)), float(stats.t.cdf(t, self.df))

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of "the contrast equals `null`"."""
        return min(1.0, 2 * min(self.tails(null)))

    def seeds_needed(self, alpha: float, decisive: Callable[[float], float]) -> int | None:
        """See `unimm.analysis.power.seeds_needed`."""
        needed = seeds_needed(
            self.n_seeds,
            self.standard_error,
            self.df,
            decisive(self.estimate),
            alpha=alpha,
            lasting_error=self.lasting_error,
        )
        return None if needed is None else max(self.n_seeds + 1, needed)


def contrast(
    cells: Mapping[str, ArrayLike],
    weights: Mapping[str, float],
    *,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
    fixed_prompts: bool = False,
) -> Comparison:
    """Weighted sum of the arms' mean scores, with its interval at level 1 - alpha.

    Args:
        cells: scores by arm, all `[seeds]` or all `[seeds, prompts]`. Two arms may differ in seeds, not in prompts; of
            more than two, row s of every arm is the same seed's.
        weights: weight by arm; they sum to zero. Arms without a weight stay out.
        tasks: the task of each prompt; the score is then the mean of the task means, as in GenEval's overall score,
            and prompts are a sample within each task.
        fixed_prompts: take the prompts as the whole benchmark: V = V_seed. Say "on these prompts" with the result.

    Raises:
        ValueError: weights that are no contrast, an arm that is missing, has fewer than 2 seeds, NaN or another shape,
            or more than two arms that differ in seeds.
    """
    _check_weights(weights, cells)
    used = {arm: weight for arm, weight in weights.items() if weight != 0}
    scores = {arm: _checked(arm, cells[arm]) for arm in used}
    shapes = {arm: values.shape[1:] for arm, values in scores.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"arms need scores of one shape, on the same prompts; prompts by arm: {shapes}")
    n_items = next(iter(shapes.values()))[0] if next(iter(shapes.values())) else None
    terms = [(weight, scores[arm]) for arm, weight in used.items()]
    rounding = 1e-12 * max(float(np.abs(weight * values).max()) for weight, values in terms)
    if len(terms) > 2:
        terms = [(1.0, _by_seed(terms))]
    if n_items is None:
        runs, prompt_terms = terms, _NONE
    else:
        groups = _groups(n_items, tasks)
        runs = [(weight, _run_scores(values, groups)) for weight, values in terms]
        prompt_terms = _NONE if fixed_prompts else _prompt_variance(terms, groups)
    variance, df, lasting = _combine(runs, *prompt_terms)
    estimate = float(sum(weight * values.mean() for weight, values in runs))
    error = float(np.sqrt(variance)) if variance > rounding**2 else 0.0
    low, high = _interval(estimate, error, df, alpha)
    n_seeds = min(len(values) for _, values in terms)
    return Comparison(estimate, low, high, df, n_seeds, n_items, error, min(float(np.sqrt(lasting)), error))


def _by_seed(terms: list[tuple[float, Array]]) -> Array:
    """The contrast in each seed, `[seeds]` or `[seeds, prompts]`."""
    seeds = sorted({len(values) for _, values in terms})
    if len(seeds) > 1:
        raise ValueError(
            f"more than two arms are compared seed by seed, and they have {' and '.join(map(str, seeds))} seeds; "
            "give the seeds that all arms have"
        )
    total: Array = np.sum([weight * values for weight, values in terms], axis=0)
    return total


def _combine(
    runs: list[tuple[float, Array]], prompt: Array, residual: Array, prompt_df: Array
) -> tuple[float, float, float]:
    """V, its Satterthwaite degrees of freedom, and the part of V that is the prompts' own."""
    seed = np.array([weight**2 * values.var(ddof=1) / len(values) for weight, values in runs])
    seed_df = np.array([len(values) - 1 for _, values in runs])
    v_seed, v_prompt, v_residual = float(seed.sum()), float(prompt.sum()), float(residual.sum())
    variance = max(v_seed + v_prompt - v_residual, v_seed, v_prompt)
    if variance == 0:
        return 0.0, float(seed_df.sum()), 0.0
    spread = (seed**2 / seed_df).sum() + (prompt**2 / prompt_df).sum()
    spread += (residual**2 / (seed_df.sum() * prompt_df)).sum()
    return variance, float(variance**2 / spread), max(v_prompt - v_residual, 0.0)


def _prompt_variance(terms: list[tuple[float, Array]], groups: list[NDArray[np.intp]]) -> tuple[Array, Array, Array]:
    """V_prompt and V_e by task, and the number of prompts - 1."""
    profile = np.sum([weight * values.mean(0) for weight, values in terms], axis=0)
    sizes = np.array([len(group) for group in groups])
    share = 1 / (sizes * len(groups) ** 2)
    prompt = share * np.array([profile[group].var(ddof=1) for group in groups])
    residual = share * np.array(
        [sum(w**2 * _residual(values[:, group]) / len(values) for w, values in terms) for group in groups]
    )
    return prompt, residual, (sizes - 1).astype(float)


def _residual(values: Array) -> float:
    """Mean square of what neither seed nor prompt explains, of `[seeds, prompts]`."""
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float((left**2).sum() / ((values.shape[0] - 1) * (values.shape[1] - 1)))


def _run_scores(values: Array, groups: list[NDArray[np.intp]]) -> Array:
    """Mean of the task means of every run, `[seeds]`."""
    scores: Array = np.mean([values[:, group].mean(1) for group in groups], axis=0)
    return scores


def _groups(n_items: int, tasks: Sequence[str] | None) -> list[NDArray[np.intp]]:
    """Positions of the prompts of each task."""
    labels = np.zeros(n_items, dtype=int) if tasks is None else np.asarray(tasks)
    if len(labels) != n_items:
        raise ValueError(f"tasks: {len(labels)} labels for {n_items} prompts; give the task of every prompt")
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if min(map(len, groups)) < 2:
        raise ValueError("a task has a single prompt, which says nothing about how prompts vary; use 2 or more")
    return groups


def _check_weights(weights: Mapping[str, float], cells: Mapping[str, ArrayLike]) -> None:
    missing = sorted(weights.keys() - cells.keys())
    if missing:
        raise ValueError(f"no scores of {', '.join(missing)}; there: {', '.join(cells)}")
    if not any(weights.values()) or abs(sum(weights.values())) > 1e-9:
        raise ValueError(f"weights of a contrast sum to zero and are not all zero; given: {dict(weights)}")


def _checked(arm: str, given: ArrayLike) -> Array:
    values: Array = np.asarray(given, dtype=float)
    if values.ndim not in (1, 2):
        raise ValueError(f"{arm}: expected [seeds] or [seeds, prompts], got shape {values.shape}")
    if len(values) < 2:
        raise ValueError(f"{arm}: {len(values)} seed says nothing about how seeds vary; run 2 or more")
    if np.isnan(values).any():
        raise ValueError(f"{arm}: NaN; count a failed run as the worst value, and leave out what no run has measured")
    return values


def _interval(estimate: float, error: float, df: float, alpha: float) -> tuple[float, float]:
    half = float(stats.t.isf(alpha / 2, df)) * error
    return estimate - half, estimate + half


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
    fixed_prompts: bool = False,
) -> Comparison:
    """Mean of `a` minus mean of `b`.

    Scores `[seeds]` give Welch's t interval; scores `[seeds, prompts]`, prompts in the same order, give the two-way
    t interval, with seeds unpaired. `tasks`, `fixed_prompts` and the errors are those of `contrast`.
    """
    return contrast({"a": a, "b": b}, {"a": 1, "b": -1}, alpha=alpha, tasks=tasks, fixed_prompts=fixed_prompts)
