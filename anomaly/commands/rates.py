"""Rates as people type them: 1%, 0.5 %, or 0.01."""

from __future__ import annotations

import math
from typing import Any

import click


class Rate(click.ParamType):
    """A share above 0 and below 1, typed as a percentage or as a number below 1."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To a float within 0..1."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            number = float(text.removesuffix("%").strip())
        except ValueError:
            number = math.nan
        rate = number / 100 if text.endswith("%") else number
        if not 0 < rate < 1:
            self.fail(
                f"expected a rate such as 1% or 0.01, above 0 and below 100 %, got {text!r}", param, ctx
            )
        return rate
