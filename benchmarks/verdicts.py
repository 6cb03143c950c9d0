"""Do calibrated verdicts keep what they promise on real pictures? Random splits of each set's good pictures.

    python benchmarks/verdicts.py cookie=DIR hazelnut=DIR --false-alarms 10% --splits 100

DIR holds train/good, test/good and test/<kinds of defects>. For every split as many good pictures as train/good has
are drawn from all good ones; they calibrate as `steer-anomaly calibrate --best-effort` does, and the others are
judged. Every picture is observed once, every pair of pictures compared once.

A bound that is kept with 95 % confidence may be exceeded by the true rate in 5 splits of 100. The rate measured on
a few other good pictures scatters about the true one, so there are four columns: "within", splits where the measured
rate itself is within the bound; "expected", how many would be were every promise exactly true (beta-binomial);
"allowed", splits with no more alarms than the promise allows among so many pictures, 95 % and more to be expected; "not
refuted", splits where an exact binomial test (5 %, one-sided) does not speak against the bound.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly import Inspector, heatmaps
from anomaly.commands.rates import Rate
from anomaly.comparison import Comparison, compare, sampled
from anomaly.decision.calibrating import Good
from anomaly.decision.calibration import Calibration, false_alarms, misses
from anomaly.decision.pairs import Pairs
from anomaly.decision.plan import Pictures, planned
from anomaly.decision.promise import promised
from anomaly.decision.split import joined, same_parts, unlike_others
from anomaly.evaluation.calibrated import REFUTED, CalibratedFigures
from anomaly.evidence.references import BANK
from anomaly.pictures.inputs import collect
from anomaly.runs.good_pictures import good_pictures


@dataclass(frozen=True)
class Outcome:
    """Of one split: what was promised (0..1), what was measured, and the share of defects found."""

    parts: int
    references: int
    bound: float
    alarms: float
    expected: float
    allowed: bool
    not_refuted: bool
    found: float


class Pool:
    """All pictures of a set, observed, and their scores against any others of it."""

    def __init__(self, folder: Path, part: str, smooth: float) -> None:
        inspector = Inspector(mutual=True)
        self.smooth = inspector.settings.smooth if smooth < 0 else smooth
        train, test = collect([folder / "train" / "good"]), collect([folder / "test" / "good"])
        kinds = [one for one in (folder / "test").iterdir() if one.name != "good"]
        self.good, _ = good_pictures([*train, *test], inspector, part)
        self.bad, _ = good_pictures(collect(kinds), inspector, part)
        self.drawn = len(train)
        self.all: list[Good] = [*self.good, *self.bad]
        self.pairs = Pairs([one.observation.description for one in self.all])

    def comparison(self, places: tuple[int, ...]) -> Comparison:
        """With the pictures at `places` as references."""
        own = [sampled(self.all[place].observation.own) for place in places]
        return compare(own, None, (), self.pairs.references(places))

    def score(self, place: int, comparison: Comparison) -> float:
        """As `Inspector.conclude` scores."""
        seen = self.all[place].observation
        total, _ = comparison.total(seen.own, comparison.of(seen.description))
        map_seen = heatmaps.resize(total, seen.seen_hw)
        return heatmaps.scored(map_seen, self.smooth, top=heatmaps.TOP_IN_COMPANY)[1]


def one_split(pool: Pool, seed: int, rate: float, confidence: float, drop: bool) -> Outcome:
    """Calibrate on pictures drawn by `seed`, judge the others."""
    order = np.random.default_rng(seed).permutation(len(pool.good))
    drawn, rest = sorted(order[: pool.drawn].tolist()), sorted(order[pool.drawn :].tolist())
    parts = same_parts(np.stack([pool.all[place].thumbnail for place in drawn]))
    if drop:
        means = np.stack([pool.all[place].observation.description.patches.mean((0, 1)) for place in drawn])
        odd = {one.index for one in unlike_others(means, parts)}
        drawn = [place for number, place in enumerate(drawn) if number not in odd]
    hashes = [pool.all[place].content for place in drawn]
    parts = joined(hashes, same_parts(np.stack([pool.all[place].thumbnail for place in drawn])))
    patches = [len(pool.all[place].observation.description.rows()) for place in drawn]
    plan = planned(Pictures(hashes, parts, patches), None, rate, confidence, seed, BANK)
    known = {
        others: pool.comparison(tuple(drawn[other] for other in others))
        for others in set(plan.compared.values())
    }
    scores = [pool.score(drawn[place], known[others]) for place, others in plan.compared.items()]
    good = Calibration(tuple(scores), None, tuple(parts[place] for place in plan.compared), plan.scoring)
    promise = promised(good.n, rate, confidence, plan.scoring, best_effort=True)
    threshold = good.threshold(promise.rank)
    final = pool.comparison(tuple(drawn[place] for place in plan.references))
    alarms = false_alarms(threshold, [pool.score(place, final) for place in rest])
    bad = range(len(pool.good), len(pool.all))
    missed = misses(threshold, [pool.score(place, final) for place in bad])
    figures = CalibratedFigures("", seed, promise, len(plan.references), alarms, None, None, ())
    return Outcome(
        good.n, len(plan.references), promise.bound or 1.0, alarms.rate, figures.within_expected,
        alarms.count <= figures.allowed, figures.p_value >= REFUTED, 1 - missed.rate,
    )  # fmt: skip


def line(name: str, found: list[Outcome]) -> str:
    """A row of the table in percent."""
    n, k = (sorted({getattr(one, key) for one in found}) for key in ("parts", "references"))
    within = sum(one.alarms <= one.bound for one in found)
    expected = sum(one.expected for one in found)
    allowed, sound = sum(one.allowed for one in found), sum(one.not_refuted for one in found)
    share = np.array([one.found for one in found])
    bound, alarms = np.mean([one.bound for one in found]), np.mean([one.alarms for one in found])
    low, middle, high = np.percentile(share, [5, 50, 95])
    return (
        f"{name} | {n[0]}-{n[-1]} | {k[0]}-{k[-1]} | {100 * bound:.1f} | {100 * alarms:.1f} | {within} | "
        f"{expected:.1f} | {allowed} | {sound} | "
        f"{100 * share.mean():.1f} ({100 * low:.0f}, {100 * middle:.0f}, {100 * high:.0f})"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="PART=DIR")
    parser.add_argument("--false-alarms", default="10%")
    parser.add_argument("--confidence", default="95%")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--smooth", type=float, default=-1.0, help="as the model ships with unless given")
    given = parser.parse_args()
    rate, confidence = (Rate().convert(text, None, None) for text in (given.false_alarms, given.confidence))
    print(
        "set | parts | references | bound | alarms, mean | within | expected | allowed | not refuted | "
        "defects found (5th, 50th, 95th)"
    )
    print(" | ".join(["---"] * 10))
    for entry in given.sets:
        part, folder = entry.split("=", 1)
        pool = Pool(Path(folder), part, given.smooth)
        for drop in (False, True):
            found = [one_split(pool, seed, rate, confidence, drop) for seed in range(given.splits)]
            print(line(f"{part}{', outliers dropped' * drop}", found), flush=True)


if __name__ == "__main__":
    main()
