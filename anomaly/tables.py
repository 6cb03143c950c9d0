"""Result tables as text: for the terminal, CSV, Markdown and LaTeX. Formats numbers; computes none."""

from __future__ import annotations

from anomaly.cards import METRICS, Card

TITLES = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pro": "PRO",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "seg_f1": "SegF1",
}


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal, or `-` when it is not defined."""
    return "-" if value is None else f"{100 * value:.1f}"


def text_table(head: list[str], rows: list[list[str]]) -> str:
    """Columns aligned with spaces, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in [head, *rows]
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def published_table(card: Card) -> str:
    """The card's published figures, in percent as printed in their sources."""
    columns = [m for m in METRICS if any(m in row.values for row in card.published)]
    head = ["method", *(TITLES[c] for c in columns), "uses", "source"]
    rows = [
        [p.method, *(f"{p.values[c]:.1f}" if c in p.values else "-" for c in columns), p.setting, p.source]
        for p in card.published
    ]
    return text_table(head, rows)
