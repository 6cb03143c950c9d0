"""Result tables as text: for the terminal, CSV, Markdown and LaTeX. Formats numbers; computes none."""

from __future__ import annotations

import csv
import io

from anomaly.evaluation.scoring import CategoryResult
from anomaly.evaluation.summary import SETTINGS, ZERO_SHOT, Summary, headline, value, verdict
from anomaly.testsets.cards import METRICS, Card

TITLES = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pro": "PRO",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "seg_f1": "SegF1",
    "calpro200": "PRO (calpro200)",
}


def percent(figure: float | None) -> str:
    """A fraction as percent with one decimal, or `-` when it is not defined."""
    return "-" if figure is None else f"{100 * figure:.1f}"


def title(column: str) -> str:
    """What a column is called: `pro@0.05` becomes `PRO@0.05`."""
    return TITLES.get(column, column.replace("pro@", "PRO@"))


def table(summary: Summary) -> tuple[list[str], list[list[str]], list[list[str]], list[list[str]]]:
    """Head, one row per category, the rows of means, and the published rows, all as strings in percent."""
    columns = summary.columns
    head = ["category", "good", "defective", *map(title, columns)]
    rows = [_row(r, columns) for r in summary.results]
    means = [_mean_row(summary, columns, None), *(_mean_row(summary, columns, g) for g in summary.groups)]
    published = summary.published
    comparable = [
        c for c in columns if c != "pro" or not summary.card or summary.pro_limit == summary.card.pro_limit
    ]
    quoted = [
        [p.method, "", "", *_quoted({c: p.values[c] for c in comparable if c in p.values}, columns)]
        for p in published
    ]
    return head, rows, means, [row for row in quoted if any(cell not in ("", "-") for cell in row[1:])]


def text(summary: Summary) -> str:
    """The table for the terminal, in percent, with the published figures below it."""
    head, rows, means, published = table(summary)
    lines = text_table(head, [*rows, *means, *published]).splitlines()
    rule = "-" * max(map(len, lines))
    parts = [headline(summary), "", lines[0], rule, *lines[1 : 1 + len(rows)], rule]
    parts += lines[1 + len(rows) : 1 + len(rows) + len(means)]
    if published:
        parts += [rule, "published, mean over all categories:", *lines[1 + len(rows) + len(means) :]]
    return "\n".join([*parts, "", *footnotes(summary)])


def footnotes(summary: Summary) -> list[str]:
    """How the figures are defined and what is missing, one sentence each."""
    notes = [
        "In %. Pixel figures at each image's own size; PRO of 8-connected regions up to a false-positive "
        f"rate of {summary.pro_limit:g}, every threshold."
    ]
    if "calpro200" in summary.columns:
        found = [e for r in summary.results if (e := r.protocols.get("calpro200"))]
        entry = next(e for e in found if e["value"] is not None)
        notes.append(f"calpro200: {entry['provenance']['definition']}; {entry['provenance']['resolution']}.")
    if summary.published:
        notes.append("Published figures are of other models, and their sources do not all define PRO alike.")
        kinds = dict.fromkeys(p.setting for p in summary.published)
        named = (f"{k}: {', '.join(p.method for p in summary.published if p.setting == k)}" for k in kinds)
        notes.append(f"Kinds of published methods: {'; '.join(named)}.")
    if summary.setting != ZERO_SHOT:
        notes.append(f"Setting: {SETTINGS[summary.setting]}; not to be compared with zero-shot figures.")
    if any(r.seg_f1 is not None and r.seg_f1 > (r.metrics.get("pixel_f1_max") or 1) for r in summary.results):
        notes.append(
            "SegF1 may be above pixel F1-max: masks are empty where the image's verdict is ok, and no single "
            "threshold on all maps, which F1-max is the best of, can do that."
        )
    if any(r.defective and not r.good for r in summary.results):
        notes.append("Without good images, image AP and F1-max are 100 whatever the model does.")
    reasons = {(why, name) for r in summary.results for name, why in r.undefined.items()}
    for why in sorted({w for w, _ in reasons}):
        names = [title(m) for m in METRICS if (why, m) in reasons]
        notes.append(f"Not defined everywhere: {', '.join(names)} ({why}).")
    return notes


def to_csv(summary: Summary) -> str:
    """One row per category and mean, fractions at full precision; `note` says what the run covers."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = summary.columns
    writer.writerow(["category", "object", "group", "good", "defective", *columns, "model", "note"])
    tail = [summary.model, verdict(summary)]
    for r in summary.results:
        figures = [_exact(value(r, c)) for c in columns]
        writer.writerow([r.category, r.object, r.group or "", r.good, r.defective, *figures, *tail])
    for group in (None, *summary.groups):
        figures = [_exact(summary.mean(c, group)[0]) for c in columns]
        writer.writerow([f"mean {group}" if group else "mean", "", group or "", "", "", *figures, *tail])
    return buffer.getvalue()


def to_markdown(summary: Summary) -> str:
    """The table in GitHub's Markdown, in percent."""
    head, *parts = table(summary)
    rows, means, published = ([[c.replace("|", r"\|") for c in row] for row in part] for part in parts)
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [f"| {' | '.join(f'**{cell}**' if cell else '' for cell in row)} |" for row in means]
    lines += [f"| *{row[0]} (published)* | {' | '.join(row[1:])} |" for row in published]
    notes = "\n".join(f"- {note}" for note in footnotes(summary))
    return f"**{headline(summary)}**\n\n" + "\n".join(lines) + f"\n\n{notes}\n"


def to_latex(summary: Summary) -> str:
    """The table as LaTeX (needs the booktabs package), in percent."""
    head, rows, means, published = table(summary)
    lines = [f"% {headline(summary)}", r"\begin{table}", r"\centering", r"\small"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", _latex(head), r"\midrule"]
    lines += [*map(_latex, rows), r"\midrule", *map(_latex, means)]
    if published:
        lines += [r"\midrule", *(_latex([f"{row[0]} (published)", *row[1:]]) for row in published)]
    lines += [r"\bottomrule", r"\end{tabular}"]
    caption = " ".join([headline(summary) + ("" if summary.notes else "."), *footnotes(summary)])
    return "\n".join([*lines, rf"\caption{{{_escape(caption)}}}", r"\end{table}", ""])


def text_table(head: list[str], rows: list[list[str]]) -> str:
    """Columns aligned with spaces, the first to the left, the others to the right."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def published_table(card: Card) -> str:
    """The card's published figures, in percent as printed in their sources."""
    columns = [m for m in METRICS if any(m in row.values for row in card.published)]
    head = ["method", *(TITLES[c] for c in columns), "kind, source"]
    rows = [[p.method, *_quoted(p.values, columns), f"{p.setting}; {p.source}"] for p in card.published]
    return text_table(head, rows)


def _row(result: CategoryResult, columns: list[str]) -> list[str]:
    figures = [percent(value(result, c)) for c in columns]
    return [result.category, str(result.good), str(result.defective), *figures]


def _mean_row(summary: Summary, columns: list[str], group: str | None) -> list[str]:
    chosen = [r for r in summary.results if group is None or r.group == group]
    cells = []
    for column in columns:
        mean, over = summary.mean(column, group)
        cells.append(percent(mean) + ("" if over in (0, len(chosen)) else f" ({over} of {len(chosen)})"))
    name = f"mean of {len(chosen)} {group}{'s' if len(chosen) > 1 else ''}" if group else "mean"
    return [name, str(sum(r.good for r in chosen)), str(sum(r.defective for r in chosen)), *cells]


def _quoted(values: dict[str, float], columns: list[str]) -> list[str]:
    return [f"{values[c]:.1f}" if c in values else "-" for c in columns]


def _exact(figure: float | None) -> str:
    return "" if figure is None else repr(figure)


def _latex(cells: list[str]) -> str:
    return " & ".join(map(_escape, cells)) + r" \\"


def _escape(cell: str) -> str:
    """Text as LaTeX prints it; only the characters that mean something to LaTeX change."""
    special = {c: f"\\{c}" for c in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in cell)
