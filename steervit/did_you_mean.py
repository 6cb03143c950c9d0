"""What to say when a name is not known: the nearest ones. Knows words only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: ", did you mean a or b?", or "." when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=2)
    return f", did you mean {' or '.join(near)}?" if near else "."


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentences about an unknown `name` of a `what`: what is near, and all there are."""
    listed = list(known)
    return f"no {what} called {name!r}{did_you_mean(name, listed)} There are: {', '.join(listed) or 'none'}"
