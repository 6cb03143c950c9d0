"""The one place where a page is made from a template of this folder. Knows nothing of what a page shows."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from anomaly.errors import SteerAnomalyError


def render(template: str, **values: Any) -> str:
    """The page `template` (such as `report.html`) with `values`; file names and texts in them are escaped.

    Raises `SteerAnomalyError` when a template is missing or does not fit: no disk is to blame for that, though
    jinja's error for a missing template is an `OSError`.
    """
    try:
        return _environment().get_template(template).render(**values)
    except jinja2.TemplateError as error:
        reason = f"{type(error).__name__}: {error}"
        raise SteerAnomalyError(
            f"the report's template {template} cannot be used ({reason}). Everything but the report is written; "
            "install steer-anomaly again and run the same command to have it"
        ) from error


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("anomaly.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
