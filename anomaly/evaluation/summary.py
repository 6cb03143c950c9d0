"""The result of a whole evaluation: means over categories, and an honest word on what it covers. No files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from anomaly.evaluation.scoring import CategoryResult
from anomaly.testsets.cards import METRICS, Card, Published

# What is known of the part but its name.
ZERO_SHOT, MUTUAL, FEW_SHOT, FULL_SHOT = "zero-shot", "mutual scoring", "few-shot", "full-shot"
SETTINGS = {
    ZERO_SHOT: "zero-shot",
    MUTUAL: "mutual scoring, uses the unlabelled test set",
    FEW_SHOT: "few-shot, uses good pictures",
    FULL_SHOT: "full-shot, uses all good training pictures",
}
_PUBLISHED_MUTUAL = "sees the whole unlabelled test set"


@dataclass(frozen=True)
class Summary:
    """An evaluation of `model` on `title`.

    `notes` is empty only when the full benchmark was evaluated; each note is a sentence. `settings` is what
    the inspector says of itself. `pro_limit` is the false-positive rate up to which `pro` is integrated. `setting` is
    one of `SETTINGS`.
    """

    title: str
    model: str
    results: list[CategoryResult]
    notes: list[str]
    card: Card | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    pro_limit: float = 0.3
    setting: str = ZERO_SHOT

    @property
    def published(self) -> tuple[Published, ...]:
        """The card's published figures of the same setting; figures of others are never set beside these."""
        rows = self.card.published if self.card else ()
        return tuple(row for row in rows if _setting_of(row) == self.setting)

    @property
    def columns(self) -> list[str]:
        """The metrics that are defined anywhere, in table order: protocols of PRO stand beside `pro`."""
        names = [m for m in METRICS if any(r.metrics.get(m) is not None for r in self.results)]
        extra = dict.fromkeys(n for r in self.results for n in [*r.metrics, *r.protocols] if n not in METRICS)
        place = names.index("pro") + 1 if "pro" in names else len(names)
        names[place:place] = [n for n in extra if any(value(r, n) is not None for r in self.results)]
        if any(r.seg_f1 is not None for r in self.results):
            names.insert(names.index("pro") + 1 if "pro" in names else 0, "seg_f1")
        return names

    def mean(self, metric: str, group: str | None = None) -> tuple[float | None, int]:
        """The mean of a metric over the categories (of one group) where it is defined, and over how many."""
        chosen = [r for r in self.results if group is None or r.group == group]
        values = [v for r in chosen if (v := value(r, metric)) is not None]
        return (sum(values) / len(values) if values else None), len(values)

    @property
    def groups(self) -> list[str]:
        """Groups of the card (texture, object) of which at least one category was evaluated."""
        present = {r.group for r in self.results}
        return [g for g in (self.card.groups if self.card else ()) if g in present]

    @property
    def left_out(self) -> list[dict[str, str]]:
        return [entry for r in self.results for entry in r.left_out]


def value(result: CategoryResult, metric: str) -> float | None:
    """One figure of one category, whichever protocol it belongs to."""
    if metric == "seg_f1":
        return result.seg_f1
    if metric in result.protocols:
        return result.protocols[metric]["value"]
    return result.metrics.get(metric)


def coverage_notes(
    card: Card | None, results: list[CategoryResult], limited_to: int | None, split: str = "public"
) -> list[str]:
    """What keeps this run from being the full benchmark, one sentence each; empty when it is."""
    notes = [] if card else ["The user's own images, not a benchmark."]
    if card:
        absent = [c.name for c in card.categories if c.name not in {r.category for r in results}]
        if absent:
            notes.append(
                f"{len(results)} of {len(card.categories)} categories; missing: {', '.join(absent)}."
            )
    if limited_to is not None:
        notes.append(f"At most {limited_to} images of each category.")
    if card and split == "public" and limited_to is None:
        notes += _count_notes(card, results)
    if count := sum(len(r.left_out) for r in results):
        notes.append(f"{count} image{'s' if count > 1 else ''} left out because of errors.")
    return notes


def _count_notes(card: Card, results: list[CategoryResult]) -> list[str]:
    differing, unknown = [], []
    for result in results:
        wanted = card.category(result.category)
        if wanted.good is None or wanted.defective is None:
            unknown.append(result.category)
        elif (result.good, result.defective) != (wanted.good, wanted.defective):
            differing.append(
                f"{result.category} has {result.good} good and {result.defective} defective test images, "
                f"not {wanted.good} and {wanted.defective}"
            )
    notes = []
    if differing:
        more = f" (so in {len(differing)} categories)" if len(differing) > 1 else ""
        notes.append(f"Not all test images of the benchmark, or others: {differing[0]}{more}.")
    if unknown:
        notes.append("The card does not know how many test images there should be, so that is unchecked.")
    return notes


def headline(summary: Summary) -> str:
    """One line for the head of every output: what was evaluated, by what, and whether it is all of it."""
    # A baseline always says which it is.
    plain = summary.setting == ZERO_SHOT and not summary.settings.get("method")
    known = "" if plain else f", {setting_in_words(summary)}"
    return f"{summary.title}, model {summary.model}{known}: {verdict(summary)}"


def setting_in_words(summary: Summary) -> str:
    """What is known of the parts but their names, and that a baseline is one."""
    baseline = f"baseline {method}, " if (method := summary.settings.get("method")) else ""
    return baseline + SETTINGS[summary.setting]


def _setting_of(row: Published) -> str:
    if row.setting == _PUBLISHED_MUTUAL:
        return MUTUAL
    return next((one for one in (FEW_SHOT, FULL_SHOT) if row.setting.startswith(one)), ZERO_SHOT)


def verdict(summary: Summary) -> str:
    """`the full benchmark`, or NOT THE FULL BENCHMARK with the reasons."""
    if not summary.notes:
        return "the full benchmark"
    if summary.card is None:
        return " ".join(summary.notes)
    return "NOT THE FULL BENCHMARK. " + " ".join(summary.notes)
