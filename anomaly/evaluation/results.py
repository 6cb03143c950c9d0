"""Writes what an evaluation found: metrics.json, the table as CSV, Markdown and LaTeX, plots, the report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.run import write_json
from anomaly.evaluation.summary import Summary, value, verdict
from anomaly.evaluation.tables import to_csv, to_latex, to_markdown
from anomaly.testsets.cards import METRICS


def write_results(summary: Summary, out: Path) -> list[Path]:
    """Writes every output below `out` and returns their paths, the report last."""
    from anomaly.report.eval_page import write_eval_report
    from anomaly.report.plots import write_plots

    paths = [out / "metrics.json", out / "table.csv", out / "table.md", out / "table.tex"]
    write_json(paths[0], to_json(summary))
    try:
        for path, text in zip(
            paths[1:], (to_csv(summary), to_markdown(summary), to_latex(summary)), strict=True
        ):
            path.write_text(text, encoding="utf-8")
        plots = write_plots(summary, out / "plots")
        return [*paths, *plots, write_eval_report(summary, out, plots)]
    except OSError as error:
        raise SteerAnomalyError(
            f"{out}: cannot write the results ({error.strerror or error}). Free some space; "
            "the evaluation itself is kept, run the same command again to write them"
        ) from error


def to_json(summary: Summary) -> dict[str, Any]:
    """Everything but curves and pictures: figures are fractions, None where not defined."""
    return {
        "benchmark": summary.title,
        "full_benchmark": summary.card is not None and not summary.notes,
        "coverage": verdict(summary),
        "notes": summary.notes,
        "model": summary.model,
        "setting": summary.setting,
        "settings": summary.settings,
        "categories": {r.category: _category(r, summary) for r in summary.results},
        "mean": {m: summary.mean(m)[0] for m in _columns(summary)},
        "mean_over": {m: summary.mean(m)[1] for m in _columns(summary)},
        "groups": {g: {m: summary.mean(m, g)[0] for m in _columns(summary)} for g in summary.groups},
        "left_out": summary.left_out,
        "published_percent": [asdict(p) for p in summary.published],
    }


def _columns(summary: Summary) -> list[str]:
    return [*METRICS, *(c for c in summary.columns if c not in METRICS)]


def _category(result: Any, summary: Summary) -> dict[str, Any]:
    return {
        **{m: value(result, m) for m in _columns(summary)},
        "object": result.object,
        "group": result.group,
        "good": result.good,
        "defective": result.defective,
        "regions": len(result.regions),
        "threshold": result.threshold,
        "undefined": result.undefined,
        "error_bound": result.error_bound,
        "provenance": {**result.provenance, **{k: v["provenance"] for k, v in result.protocols.items()}},
        "left_out": result.left_out,
    }
