"""Makes an evaluation's `report.html`, one file without links outside it, from a summary and pictures."""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path
from typing import Any

from anomaly import __version__
from anomaly.evaluation.labelled import ImageFigures
from anomaly.evaluation.scoring import CategoryResult
from anomaly.evaluation.summary import Summary, setting_in_words, verdict
from anomaly.evaluation.tables import footnotes, percent, table
from anomaly.report.gallery import KINDS, chosen, picture_path
from anomaly.report.html import render
from anomaly.runs.saving import save


def write_eval_report(summary: Summary, out: Path, plots: list[Path]) -> Path:
    """Writes `out/report.html`; `plots` are PNG files to embed. Raises `OSError` when that fails."""
    head, rows, means, published = table(summary)
    page = render(
        "eval.html",
        summary=summary,
        verdict=verdict(summary),
        version=__version__,
        today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        head=head,
        rows=rows,
        means=means,
        published=published,
        highlights=_highlights(summary),
        footnotes=footnotes(summary),
        setting=setting_in_words(summary),
        settings=json.dumps(summary.settings, indent=1, ensure_ascii=False, default=str),
        plots=[_data_url(path, "image/png") for path in plots],
        categories=[_category(out, r) for r in summary.results],
        kinds=KINDS,
    )
    save(out / "report.html", page.encode("utf-8", "replace"))
    return out / "report.html"


def _highlights(summary: Summary) -> list[tuple[str, str]]:
    """The few means that a reader looks for first."""
    wanted = (
        ("pixel AUROC", "pixel_auroc"),
        ("PRO", "pro"),
        ("pixel F1-max", "pixel_f1_max"),
        ("image AUROC", "image_auroc"),
    )
    found = [(title, summary.mean(metric)[0]) for title, metric in wanted]
    return [(title, percent(figure)) for title, figure in found if figure is not None]


def _category(out: Path, result: CategoryResult) -> dict[str, Any]:
    pictures = {
        kind: [_picture(picture_path(out, result, kind, i), image) for i, image in enumerate(images)]
        for kind, images in chosen(result).items()
    }
    shown = {kind: [p for p in found if p] for kind, found in pictures.items()}
    return {"result": result, "pictures": {kind: found for kind, found in shown.items() if found}}


def _picture(path: Path, image: ImageFigures) -> dict[str, str] | None:
    if not path.is_file():
        return None
    pro = "" if image.pro is None else f"PRO {percent(image.pro)}, "
    return {"url": _data_url(path, "image/jpeg"), "text": f"{image.key}: {pro}score {image.score:.4g}"}


def _data_url(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
