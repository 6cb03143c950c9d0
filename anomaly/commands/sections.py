"""Help in sections: options that belong together stand together. Knows no command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class SectionOption(click.Option):
    """An option that says in which section of the help it stands.

    `setting` names a setting that every model has a default of its own for; the help then shows these as values.
    """

    def __init__(self, *args: Any, section: str, setting: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section, self.setting = section, setting

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or self.setting is None:
            return record
        return record[0], f"{record[1]}  [default: {_of_models(self.setting)}]"


class SectionedCommand(click.Command):
    """A command whose help lists its `SectionOption`s by section, in the order in which sections first appear.

    All others stand under "Options".
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def in_section(section: str) -> Callable[..., Any]:
    """`click.option` for the options of one section."""

    def option(*names: str, **kwargs: Any) -> Callable:
        return click.option(*names, cls=SectionOption, section=section, **kwargs)

    return option


def _of_models(setting: str) -> str:
    from anomaly.decision.threshold import MapSettings, read_defaults
    from steervit.weights.catalogue import NANO

    of_nano, point = read_defaults(NANO)
    if hasattr(point, setting):
        return f"nano {getattr(point, setting):g}, no other model has one"
    values = (getattr(of_nano, setting), getattr(MapSettings(), setting))
    nano, others = (f"{value:g}" if isinstance(value, float) else value for value in values)
    return nano if nano == others else f"nano {nano}, others {others}"
