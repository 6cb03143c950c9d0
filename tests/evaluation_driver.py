"""Run by tests in processes of their own: evaluates a drawn MVTec AD with the inspector without a model.

python evaluation_driver.py ROOT OUT DELAY CATEGORY...
"""

from __future__ import annotations

import sys
from pathlib import Path

from fake_inspector import FakeInspector

from anomaly.evaluation.labelled import TestImages
from anomaly.evaluation.run import Options, evaluate
from anomaly.testsets.cards import load
from anomaly.testsets.layouts import find_samples
from steervit.processes import joined


def main(root: str, out: str, delay: str, *names: str) -> None:
    card = load("mvtec")
    categories = [TestImages(n, card.category(n).object, find_samples(card, Path(root), n)) for n in names]
    with joined() as processes:
        options = Options(limits=(0.3, 0.05), batch_size=2)
        evaluate(FakeInspector(float(delay)), "mvtec", categories, Path(out), options, processes)


if __name__ == "__main__":
    main(*sys.argv[1:])
