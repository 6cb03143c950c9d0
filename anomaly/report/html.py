"""The one place where a page is made from a template. Knows nothing of what a page shows."""

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
        return environment("anomaly.report").get_template(template).render(**values)
    except jinja2.TemplateError as error:
        reason = f"{type(error).__name__}: {error}"
        raise SteerAnomalyError(
            f"the report's template {template} cannot be used ({reason}). Everything but the report is written; "
            "install steer-anomaly again and run the same command to have it"
        ) from error


@cache
def environment(package: str) -> jinja2.Environment:
    """Makes pages of the templates of `package`, in its folder `templates`: texts are escaped, none may be missing."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
