"""What may stand in a file of prompts. Apart from `prompts`, which a bundle needs where no YAML is ever read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass as checked

from steervit.schema import STRICT


@checked(frozen=True, config=STRICT)
class Sentences:
    """Prompts as a file gives them: a list, or every one of some states in every one of some templates."""

    prompts: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.states) != bool(self.templates):
            raise ValueError("states and templates belong together, only one of them is there")
        for template in self.templates:
            if "{state}" not in template:
                raise ValueError(f"the template {template!r} has no {{state}} to put a state into")

    def listed(self) -> list[str]:
        """All of them, composed ones once."""
        composed = [
            template.replace("{state}", state) for template in self.templates for state in self.states
        ]
        return [*self.prompts, *dict.fromkeys(composed)]


def _sentences(content: Any) -> Any:
    return {"prompts": content} if isinstance(content, list) else content


@checked(frozen=True, config=STRICT)
class PromptFile(Sentences):
    """A file of prompts: its own, those of the shipped set that it is `from`, and those to subtract."""

    base: str | None = Field(default=None, alias="from")
    contrast: Annotated[Sentences | None, BeforeValidator(_sentences)] = None
    description: str = ""
    source: str = ""
