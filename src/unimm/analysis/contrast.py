"""Interval of a weighted sum of arms, sum_k c_k mean_k, from scores by run or by run and prompt.

Runs of one arm differ by seed, and all arms answer the same prompts; both are samples, so both add variance. With
Y_k[s, p] the score of arm k (mean over the images of a prompt), S_k seeds and P prompts:

    V_seed   = sum_k c_k^2 var_s(mean_p Y_k) / S_k
    V_prompt = between(sum_k c_k mean_s Y_k)
    V_e      = sum_k c_k^2 between(seed x prompt residuals of Y_k) / (S_k (S_k - 1)), which both terms above contain
    V        = max(V_seed + V_prompt - V_e, V_seed, V_prompt)

Prompts of one text ask for the same, so that texts t of n_t prompts are what was drawn (cluster-robust, Liang and Zeger
1986). With d the deviations from the mean, and T = P^2 / sum_t n_t^2 texts in effect,

    between(d) = T / (T - 1) sum_t (sum_{p in t} d_p)^2 / P^2      (var_p / P where no text comes twice)

Prompts counted one by one cover 89 % of new texts instead of 95 % where an arm is better at some texts and worse at
others by 1 logit (`experiments/simulations/distinct_texts.py`). The interval is a t interval whose degrees of freedom
follow Satterthwaite. For two arms (`compare`: weights 1 and -1) this is the two-way interval; for scores by run
V = V_seed, Welch's. An interval over prompts only covers 29 to 63 % instead of 95 % as soon as seeds matter, and a
percentile bootstrap over 3 seeds covers 82 %.

Arms of one seed share data order and noise. A seed that is good for both of two arms cancels in their difference, and
the interval above is too wide; a seed that is good for one and bad for the other makes it too narrow: it covers 89 % at
a correlation of -0.5 and 10 seeds (`experiments/simulations/paired_seeds.py`). `paired` compares two arms seed by seed
instead. More than two arms always are, since there what arms share adds up: four joint arms that see the same questions
in the same order are no four runs. The contrast is taken in each seed first, Z[s, p] = sum_k c_k Y_k[s, p], and the
formulas above apply to Z as the only term (the error of a factor in a split plot, seed x factor). For scores by run
that is exact whatever the arms of a seed share, with S - 1 degrees of freedom.

By prompt the degrees of freedom of Z are at most S - 1, as seeds say no more of their own spread. Satterthwaite's rule
alone misses 2.7 % where 0.83 % are promised, since it trusts the prompts' degrees of freedom whenever three seeds
happen to look alike. The cap costs width where prompts make most of the error: with 3 seeds the interval is 1.5 times
as wide at a seed error of twice the prompts', and 1.9 times where both are equal
(`experiments/simulations/more_than_two_arms.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from unimm.analysis.power import USUAL, Room, seeds_needed

Array = NDArray[np.float64]
# V_prompt and V_e, each by task, and the residual's degrees of freedom per seed: scores by run have none.
_NONE = (np.zeros(0), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Comparison:
    """A contrast with its t interval [low, high]; `n_items` prompts have `n_texts` texts, both None for scores by run.

    `lasting_error` is the prompts' share of the standard error, which more seeds do not take away. `residual_error`
    is that of seeds x prompts, which more of either take away; it is 0 for scores by run.
    """

    estimate: float
    low: float
    high: float
    df: float
    n_seeds: int
    n_items: int | None
    standard_error: float
    lasting_error: float = 0.0
    n_texts: int | None = None
    residual_error: float = 0.0

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

    def seeds_needed(self, alpha: float, room: Callable[[float], Room], chance: float = USUAL) -> int | None:
        """See `unimm.analysis.power.seeds_needed`."""
        needed = seeds_needed(
            self.n_seeds,
            self.standard_error,
            self.df,
            room(self.estimate),
            alpha=alpha,
            lasting_error=self.lasting_error,
            chance=chance,
        )
        return None if needed is None else max(self.n_seeds + 1, needed)


def contrast(
    cells: Mapping[str, ArrayLike],
    weights: Mapping[str, float],
    *,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    paired: bool = False,
    fixed_prompts: bool = False,
) -> Comparison:
    """Weighted sum of the arms' mean scores, with its interval at level 1 - alpha.

    Args:
        cells: scores by arm, all `[seeds]` or all `[seeds, prompts]`. Two arms may differ in seeds, not in prompts; of
            paired arms, and of more than two, row s of every arm is the same seed's.
        weights: weight by arm; they sum to zero. Arms without a weight stay out.
        tasks: the task of each prompt; the score is then the mean of the task means, as in GenEval's overall score,
            and prompts are a sample within each task.
        texts: the text of each prompt, where prompts repeat texts: texts are then what was drawn.
        paired: compare two arms seed by seed; more than two always are.
        fixed_prompts: take the prompts as the whole benchmark: V = V_seed. Say "on these prompts" with the result.

    Raises:
        ValueError: weights that are no contrast, an arm that is missing, has fewer than 2 seeds, NaN or another shape,
            arms compared seed by seed that differ in seeds, or a task of a single text.
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
    if paired or len(terms) > 2:
        terms = [(1.0, _by_seed(terms))]
    runs, prompt_terms, n_texts = terms, _NONE, None
    if n_items is not None:
        groups = _groups(n_items, tasks, texts)
        runs = [(weight, _run_scores(values, groups)) for weight, values in terms]
        prompt_terms = _NONE if fixed_prompts else _prompt_variance(terms, groups)
        n_texts = sum(group.texts.shape[1] for group in groups)
    variance, df, lasting = _combine(runs, *prompt_terms)
    estimate = float(sum(weight * values.mean() for weight, values in runs))
    error = float(np.sqrt(variance)) if variance > rounding**2 else 0.0
    low, high = _interval(estimate, error, df, alpha)
    n_seeds = min(len(values) for _, values in terms)
    lasting_error, residual_error = (min(float(np.sqrt(part)), error) for part in (lasting, prompt_terms[1].sum()))
    return Comparison(estimate, low, high, df, n_seeds, n_items, error, lasting_error, n_texts, residual_error)


def _by_seed(terms: list[tuple[float, Array]]) -> Array:
    """The contrast in each seed, `[seeds]` or `[seeds, prompts]`."""
    seeds = sorted({len(values) for _, values in terms})
    if len(seeds) > 1:
        raise ValueError(
            f"these arms are compared seed by seed, and they have {' and '.join(map(str, seeds))} seeds; "
            "give the seeds that all arms have"
        )
    total: Array = np.sum([weight * values for weight, values in terms], axis=0)
    return total


def _combine(
    runs: list[tuple[float, Array]], prompt: Array, residual: Array, prompt_df: Array
) -> tuple[float, float, float]:
    """V, its degrees of freedom, and the part of V that is the prompts' own; a single term is a contrast by seed."""
    seed = np.array([weight**2 * values.var(ddof=1) / len(values) for weight, values in runs])
    seed_df = np.array([len(values) - 1 for _, values in runs])
    v_seed, v_prompt, v_residual = float(seed.sum()), float(prompt.sum()), float(residual.sum())
    variance = max(v_seed + v_prompt - v_residual, v_seed, v_prompt)
    if variance == 0:
        return 0.0, float(seed_df.sum()), 0.0
    spread = (seed**2 / seed_df).sum() + (prompt**2 / prompt_df).sum()
    spread += (residual**2 / (seed_df.sum() * prompt_df)).sum()
    df = float(variance**2 / spread)
    return variance, df if len(runs) > 1 else min(df, float(seed_df[0])), max(v_prompt - v_residual, 0.0)


def _prompt_variance(terms: list[tuple[float, Array]], groups: list[_Task]) -> tuple[Array, Array, Array]:
    """V_prompt and V_e by task, and the number of texts - 1."""
    profile = np.sum([weight * values.mean(0) for weight, values in terms], axis=0)
    share = 1 / len(groups) ** 2
    prompt = share * np.array([group.between(profile[None, group.prompts]) for group in groups])
    residual = share * np.array(
        [
            sum(w**2 * group.between(values[:, group.prompts]) / _pairs(values) for w, values in terms)
            for group in groups
        ]
    )
    return prompt, residual, np.array([group.n_effective - 1 for group in groups])


def _pairs(values: Array) -> int:
    """S (S - 1): the residual's degrees of freedom by seed, and the seeds in its mean."""
    return len(values) * (len(values) - 1)


@dataclass(frozen=True)
class _Task:
    """One task: positions of its prompts, and which text each has, `[prompts, texts]` of 0 and 1."""

    prompts: NDArray[np.intp]
    texts: Array

    @property
    def n_effective(self) -> float:
        """Texts of equal size that would vary as much: P^2 / sum_t n_t^2."""
        return float(len(self.prompts) ** 2 / (self.texts.sum(0) ** 2).sum())

    def between(self, values: Array) -> float:
        """`between` of what neither row nor prompt explains, summed over the rows of `values`, `[rows, prompts]`.

        Of a single row that is its deviation from its mean.
        """
        left = values - values.mean(1, keepdims=True)
        if len(values) > 1:
            left -= left.mean(0)
        sums = left @ self.texts
        return float((sums**2).sum() * self.n_effective / (self.n_effective - 1) / len(self.prompts) ** 2)


def _run_scores(values: Array, groups: list[_Task]) -> Array:
    """Mean of the task means of every run, `[seeds]`."""
    scores: Array = np.mean([values[:, group.prompts].mean(1) for group in groups], axis=0)
    return scores


def _groups(n_items: int, tasks: Sequence[str] | None, texts: Sequence[str] | None) -> list[_Task]:
    """The tasks, each with its prompts and their texts."""
    labels = np.zeros(n_items, dtype=int) if tasks is None else np.asarray(tasks)
    wording = np.arange(n_items) if texts is None else np.asarray(texts)
    for key, given in (("tasks", labels), ("texts", wording)):
        if len(given) != n_items:
            raise ValueError(f"{key}: {len(given)} labels for {n_items} prompts; give one of every prompt")
    groups = []
    for label in np.unique(labels):
        prompts = np.flatnonzero(labels == label)
        names, which = np.unique(wording[prompts], return_inverse=True)
        if len(names) < 2:
            raise ValueError("a task has a single text, which says nothing about how prompts vary; use 2 or more")
        groups.append(_Task(prompts, np.eye(len(names))[which]))
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
    texts: Sequence[str] | None = None,
    paired: bool = False,
    fixed_prompts: bool = False,
) -> Comparison:
    """Mean of `a` minus mean of `b`.

    Scores `[seeds]` give Welch's t interval; scores `[seeds, prompts]`, prompts in the same order, give the two-way
    t interval, with seeds unpaired unless `paired`. The other options and the errors are those of `contrast`.
    """
    weights = {"a": 1.0, "b": -1.0}
    return contrast(
        {"a": a, "b": b}, weights, alpha=alpha, tasks=tasks, texts=texts, paired=paired, fixed_prompts=fixed_prompts
    )


def compare_runs(
    a: ArrayLike,
    b: ArrayLike,
    *,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
) -> Comparison:
    """Mean of run `a` minus mean of run `b`, both `[prompts]`, paired by prompt: V = between(a - b), by task.

    The interval reaches over other texts of the same tasks. Two runs say nothing about other seeds.

    Raises:
        ValueError: shapes that differ, NaN, or a task of a single text.
    """
    first, second = (np.asarray(values, dtype=float) for values in (a, b))
    if first.ndim != 1 or first.shape != second.shape or np.isnan(first).any() or np.isnan(second).any():
        raise ValueError(
            f"two runs are compared on the same prompts, each with a score; got {first.shape}, {second.shape}"
        )
    groups = _groups(len(first), tasks, texts)
    difference = (first - second)[None]
    parts = np.array([group.between(difference[:, group.prompts]) for group in groups]) / len(groups) ** 2
    estimate, variance = float(_run_scores(difference, groups)[0]), float(parts.sum())
    each = np.array([group.n_effective - 1 for group in groups])
    df = float(variance**2 / (parts**2 / each).sum() if variance > 0 else each.sum())
    error = float(np.sqrt(variance))
    low, high = _interval(estimate, error, df, alpha)
    n_texts = sum(group.texts.shape[1] for group in groups)
    return Comparison(estimate, low, high, df, 1, len(first), error, error, n_texts)
