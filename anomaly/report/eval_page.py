"""Makes an evaluation's `report.html`, one file without links outside it, from a summary and pictures."""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path
from typing import Any

from anomaly.evaluation.scoring import CategoryResult
from anomaly.evaluation.summary import Summary, verdict
from anomaly.evaluation.tables import footnotes, percent, table
from anomaly.report.gallery import KINDS, chosen, picture_path


def write_eval_report(summary: Summary, out: Path, plots: list[Path]) -> Path:
    """Writes `out/report.html`; `plots` are PNG files to embed. Raises `OSError` when that fails."""
    from importlib.metadata import version

    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    head, rows, means, published = table(summary)
    page = environment.get_template("eval.html").render(
        summary=summary,
        verdict=verdict(summary),
        version=_version(version),
        today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        head=head,
        rows=rows,
        means=means,
        published=published,
        highlights=_highlights(summary),
        footnotes=footnotes(summary),
        settings=json.dumps(summary.settings, indent=1, ensure_ascii=False, default=str),
        plots=[_data_url(path, "image/png") for path in plots],
        categories=[_category(out, r) for r in summary.results],
        kinds=KINDS,
    )
    (out / "report.html").write_text(page, encoding="utf-8")
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
        kind: [_picture(picture_path(out, result, kind, i), row) for i, row in enumerate(rows)]
        for kind, rows in chosen(result).items()
    }
    shown = {kind: [p for p in found if p] for kind, found in pictures.items()}
    return {"result": result, "pictures": {kind: found for kind, found in shown.items() if found}}


def _picture(path: Path, row: dict[str, Any]) -> dict[str, str] | None:
    if not path.is_file():
        return None
    pro = "" if row["pro"] is None else f"PRO {percent(row['pro'])}, "
    return {"url": _data_url(path, "image/jpeg"), "text": f"{row['key']}: {pro}score {row['score']:.4g}"}


def _data_url(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _version(version: Any) -> str:
    try:
        return version("steer-anomaly")
    except ModuleNotFoundError:
        from anomaly import __version__

        return __version__
