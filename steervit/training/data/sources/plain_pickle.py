"""Reads a pickle of plain values without running anything in it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

# Harmless when called, and all that plain values need; the second row is how Python 2 named them.
ALLOWED: dict[tuple[str, str], Any] = {
    **{
        ("builtins", kind.__name__): kind
        for kind in (set, frozenset, int, float, str, bool, list, dict, tuple)
    },
    ("__builtin__", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("__builtin__", "unicode"): str,
    ("__builtin__", "long"): int,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain values never need")


def load_plain_pickle(path: Path) -> Any:
    """The lists, dicts, strings and numbers in the pickle `path`; text of Python 2 is read as Latin-1.

    Raises ValueError when it is damaged, or asks for anything that could run code.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle makes the reader raise almost anything
        raise ValueError(
            f"{path} was not read: {error}. Expected a pickle of plain values; fetch it again from where "
            "the data set is published"
        ) from error
