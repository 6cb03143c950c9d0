"""CV-Bench (nyu-visionx/CV-Bench, Apache-2.0): questions about what is in a picture and where, with choices.

Reads the parquet files of the data set as published; knows no model. Tasks: Count, Relation, Depth, Distance.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomaly.errors import SteerAnomalyError

if TYPE_CHECKING:
    from PIL.Image import Image

TASKS = ("Count", "Relation", "Depth", "Distance")
TEST, SEED = 150, 42  # of each task, shuffled with this seed, the last so many are the test's
COLUMNS = ("idx", "task", "image", "question", "choices", "answer", "prompt")


@dataclass(frozen=True)
class Question:
    """One of the benchmark: `prompt` is the question with its choices, `answer` a letter in brackets: (A)."""

    idx: int
    task: str
    prompt: str
    choices: tuple[str, ...]
    answer: str
    encoded: bytes

    def picture(self) -> Image:
        """The photograph, RGB. Raises `SteerAnomalyError` for one that cannot be read."""
        from PIL import Image as pillow

        try:
            return pillow.open(io.BytesIO(self.encoded)).convert("RGB")
        except (OSError, ValueError) as error:
            raise SteerAnomalyError(
                f"the picture of CV-Bench question {self.idx} cannot be read: {error}"
            ) from error


def load_questions(root: str | Path) -> list[Question]:
    """All questions in the parquet files below `root`, in the order of `idx`.

    Raises `SteerAnomalyError` when there is none, or a column is missing.
    """
    import pyarrow.parquet as parquet

    found: dict[tuple[str, int], Question] = {}
    for path in sorted(Path(root).rglob("*.parquet")):
        table = parquet.read_table(path)
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise SteerAnomalyError(
                f"expected the columns {', '.join(COLUMNS)} in {path}; {missing[0]} is missing"
            )
        for row in table.select(COLUMNS).to_pylist():
            choices = tuple(str(one) for one in row["choices"])
            found[row["task"], row["idx"]] = Question(
                row["idx"], row["task"], row["prompt"], choices, row["answer"], row["image"]["bytes"]
            )
    if not found:
        raise SteerAnomalyError(f"expected the parquet files of CV-Bench below {root}, found no question")
    return sorted(found.values(), key=lambda one: (one.idx, one.task))


def split(
    questions: Sequence[Question], task: str, test: int = TEST
) -> tuple[list[Question], list[Question]]:
    """Those of `task` to choose on, and those to test on: shuffled with seed 42, the last `test` are the test's.

    The paper's own order is not published; ours is NumPy's `default_rng(42).permutation`. Raises
    `SteerAnomalyError` when there are not more than `test` of the task.
    """
    chosen = [one for one in questions if one.task == task]
    if len(chosen) <= test:
        raise SteerAnomalyError(
            f"expected more than {test} questions of the task {task} ({', '.join(TASKS)}), found {len(chosen)}"
        )
    order = np.random.default_rng(SEED).permutation(len(chosen))
    shuffled = [chosen[place] for place in order]
    return shuffled[:-test], shuffled[-test:]


def letter(reply: str, choices: Sequence[str]) -> str | None:
    """The choice that a reply names, "(A)": by letter, or by the choice's own words; None when it names none."""
    letters = [chr(ord("A") + place) for place in range(len(choices))]
    text = reply.strip()
    by_letter = re.match(r"\(?([A-Z])\b[\).:]?", text)
    if by_letter and by_letter[1] in letters:
        return f"({by_letter[1]})"
    bracketed = re.search(r"\(([A-Z])\)", text)
    if bracketed and bracketed[1] in letters:
        return f"({bracketed[1]})"
    named = [place for place, one in enumerate(choices) if text.rstrip(".").casefold() == one.casefold()]
    return f"({letters[named[0]]})" if len(named) == 1 else None
