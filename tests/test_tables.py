import csv

import pytest

from anomaly.evaluation.scoring import CategoryResult
from anomaly.evaluation.summary import Summary, coverage_notes
from anomaly.evaluation.tables import text, to_csv, to_latex, to_markdown
from anomaly.testsets.cards import METRICS, load


def result(name, group=None, good=2, defective=3, **figures):
    metrics = dict.fromkeys(METRICS) | figures
    return CategoryResult(name, name, group, good, defective, metrics, {}, {}, {}, {})


def test_means_are_over_the_categories_where_a_figure_is_defined_and_say_so():
    results = [result("a", pro=0.5, image_auroc=0.9), result("b", pro=0.7), result("c", pro=0.6)]
    summary = Summary("Mine", "m", results, [])
    assert summary.mean("pro") == (pytest.approx(0.6), 3) and summary.mean("image_auroc") == (0.9, 1)
    screen = text(summary)
    assert "90.0 (1 of 3)" in screen and "60.0" in screen
    assert summary.columns == ["pro", "image_auroc"]


def test_the_full_benchmark_is_called_so_and_anything_less_is_not():
    card = load("visa")
    whole = [result(c.name, good=c.good, defective=c.defective, pro=0.5) for c in card.categories]
    assert coverage_notes(card, whole, None) == []
    assert text(Summary(card.title, "m", whole, [], card)).startswith("VisA, model m: the full benchmark")
    assert "11 of 12 categories; missing: candle." in coverage_notes(card, whole[1:], None)[0]
    fewer = [result("candle", good=100, defective=99, pro=0.5), *whole[1:]]
    assert (
        "candle has 100 good and 99 defective test images, not 100 and 100"
        in coverage_notes(card, fewer, None)[0]
    )
    assert coverage_notes(card, whole, 10) == ["At most 10 images of each category."]
    assert "does not know how many" in coverage_notes(load("dagm"), [result("Class1")], None)[1]


def test_names_with_special_characters_survive_every_format():
    summary = Summary("50% & more_x", "m", [result("a_b|c\\d", pro=0.25)], [])
    assert r"a\_b|c\textbackslash{}d & 2 & 3 & 25.0 \\" in to_latex(summary)
    assert r"50\% \& more\_x" in to_latex(summary)
    assert r"| a_b\|c\d | 2 | 3 | 25.0 |" in to_markdown(summary)
    assert next(csv.DictReader(to_csv(summary).splitlines()))["category"] == "a_b|c\\d"


def test_latex_has_as_many_cells_in_every_row():
    card = load("mvtec")
    summary = Summary(card.title, "m", [result("wood", "texture", pro=0.5, pixel_auroc=0.8)], [], card)
    rows = [line for line in to_latex(summary).splitlines() if line.endswith(r"\\")]
    assert len(rows) > 10 and {row.count(" & ") for row in rows} == {4}
