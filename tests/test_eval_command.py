import csv
import json
import re

import cv2
import drawn_datasets as drawn
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from fake_inspector import FakeInspector

from anomaly.commands import options
from anomaly.commands.eval import eval_command
from anomaly.errors import SteerAnomalyError
from anomaly.testsets.cards import METRICS, load


@pytest.fixture(autouse=True)
def inspectors(monkeypatch):
    """Every inspector the command makes, without a model."""
    made = []

    def make(model, threshold, **others):
        made.append(FakeInspector(threshold=threshold, name=model))
        return made[-1]

    monkeypatch.setattr(options, "make_inspector", make)
    return made


def run(*arguments, code=0):
    result = CliRunner().invoke(eval_command, [str(a) for a in arguments])
    if isinstance(result.exception, SteerAnomalyError):
        raise result.exception
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def outputs(out):
    return {
        name: (out / name).read_text()
        for name in ("metrics.json", "table.csv", "table.md", "table.tex", "report.html")
    }


@pytest.mark.slow
def test_mvtec_end_to_end_with_all_fifteen_categories(tmp_path, inspectors):
    out = tmp_path / "out"
    screen = run("mvtec", "--root", drawn.mvtec(tmp_path / "data"), "--out", out, "--model", "walnut")
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics["categories"]) == [c.name for c in load("mvtec").categories]
    for name, entry in metrics["categories"].items():
        assert all(0 <= entry[m] <= 1 for m in METRICS), name
    for metric in METRICS:
        values = [entry[metric] for entry in metrics["categories"].values()]
        assert metrics["mean"][metric] == pytest.approx(np.mean(values))
    textures = [e["pro"] for e in metrics["categories"].values() if e["group"] == "texture"]
    assert len(textures) == 5 and metrics["groups"]["texture"]["pro"] == pytest.approx(np.mean(textures))
    assert set(inspectors[0].inspected) >= {"metal nut", "zipper", "carpet"}
    for words in ("mean of 5 textures", "mean of 10 objects", "WinCLIP", "82.1", "FADE", "walnut"):
        assert words in screen
    for name, text in {**outputs(out), "screen": screen}.items():
        assert "NOT THE FULL BENCHMARK" in text and "walnut" in text, name
    assert metrics["full_benchmark"] is False and metrics["model"] == "walnut"
    assert {p.name for p in (out / "plots").iterdir()} == {"pro.png", "roc.png", "pro_by_size.png"}
    assert not (out / "maps").exists()


@pytest.mark.slow
def test_visa_end_to_end_with_all_twelve_classes(tmp_path, inspectors):
    out = tmp_path / "out"
    screen = run("visa", "--root", drawn.visa(tmp_path / "data"), "--out", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(metrics["categories"]) == 12 and metrics["groups"] == {}
    assert all(
        e["good"] == 2 and e["defective"] == 3 and e["regions"] == 3 for e in metrics["categories"].values()
    )
    assert "printed circuit board" in inspectors[0].inspected and "AnomalyCLIP" in screen


def test_mvtec_ad_2_public_has_pro_to_a_twentieth_and_seg_f1(tmp_path):
    out = tmp_path / "out"
    root = drawn.mvtec_ad_2(tmp_path / "data")
    screen = run("mvtec-ad-2", "--root", root, "--out", out, "--threshold", "15", "--category", "rice")
    entry = json.loads((out / "metrics.json").read_text())["categories"]["rice"]
    assert entry["provenance"]["pro"]["limit"] == 0.05 and 0 < entry["seg_f1"] <= 1
    assert "SegF1" in screen and "false-positive rate of 0.05" in screen


def test_mvtec_ad_2_private_writes_what_the_server_takes(tmp_path):
    root, out = drawn.mvtec_ad_2(tmp_path / "data"), tmp_path / "out"
    screen = run("mvtec-ad-2", "--root", root, "--out", out, "--split", "private", "--threshold", "15")
    assert "secret" in screen and not (out / "metrics.json").exists()
    score_map = tifffile.imread(out / "anomaly_images/can/test_private/000_regular.tiff")
    assert score_map.dtype == np.float16 and score_map.shape == (24, 32)
    assert (
        500 < np.abs([tifffile.imread(p) for p in (out / "anomaly_images/can").rglob("*.tiff")]).max() <= 1024
    )
    mask = cv2.imread(str(out / "anomaly_images_thresholded/can/test_private/000_regular.png"), -1)
    assert set(np.unique(mask)) <= {0, 255} and mask.shape == (24, 32)
    assert len(list((out / "anomaly_images").rglob("*.tiff"))) == 16


def test_own_folders_are_called_what_they_are(tmp_path, inspectors):
    drawn.mvtec_category(tmp_path / "data/coffee_cup")
    screen = run("folder", "--root", tmp_path / "data", "--out", tmp_path / "out")
    assert inspectors[0].inspected == ["coffee cup"] * 6 and "own images, not a benchmark" in screen
    run("folder", "--root", tmp_path / "data/coffee_cup", "--out", tmp_path / "other", "--object", "mug")
    assert inspectors[1].inspected == ["mug"] * 6


def test_both_protocols_stand_side_by_side(tmp_path):
    drawn.mvtec_category(tmp_path / "cup")
    more = ("--protocol", "mvtec", "--protocol", "calpro200", "--calpro-size", 64)
    screen = run("folder", "--root", tmp_path, "--out", tmp_path / "out", *more)
    assert re.search(r"PRO +PRO \(calpro200\)", screen) and "64 x 64 pixels" in screen
    entry = json.loads((tmp_path / "out/metrics.json").read_text())["categories"]["cup"]
    assert entry["calpro200"] is not None and entry["provenance"]["calpro200"]["computed"] == "200 thresholds"


def test_other_limits_of_pro_and_no_published_figure_beside_another_definition(tmp_path):
    drawn.mvtec_category(tmp_path / "data/wood")
    arguments = ("mvtec", "--root", tmp_path / "data", "--pro-limit", 0.05)
    screen = run(*arguments, "--pro-limit", 0.3, "--out", tmp_path / "out")
    entry = json.loads((tmp_path / "out/metrics.json").read_text())["categories"]["wood"]
    assert entry["pro"] < entry["pro@0.3"] and "PRO@0.3" in screen
    assert "82.1" not in screen and "87.8" in screen


def test_maps_are_kept_on_request_in_mvtecs_naming(tmp_path):
    drawn.mvtec_category(tmp_path / "cup")
    run("folder", "--root", tmp_path, "--out", tmp_path / "out", "--save-maps")
    score_map = tifffile.imread(tmp_path / "out/maps/cup/test/crack/000.tiff")
    assert score_map.dtype == np.float32 and score_map.shape == (24, 32)


def test_a_second_run_inspects_nothing_and_a_limited_one_says_so(tmp_path, inspectors):
    drawn.mvtec_category(tmp_path / "data/bottle")
    arguments = ("mvtec", "--root", tmp_path / "data", "--limit", 3)
    screen = run(*arguments, "--out", tmp_path / "out")
    assert "At most 3 images of each category." in screen and "1 of 15 categories" in screen
    assert run(*arguments, "--out", tmp_path / "out").split("\n\n")[1:] == screen.split("\n\n")[1:]
    assert [len(made.inspected) for made in inspectors] == [3, 0]


def test_tables_hold_the_same_figures(tmp_path):
    drawn.mvtec_category(tmp_path / "data/wood")
    out = tmp_path / "out"
    run("mvtec", "--root", tmp_path / "data", "--out", out)
    pro = json.loads((out / "metrics.json").read_text())["categories"]["wood"]["pro"]
    row = next(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert float(row["pro"]) == pro and row["category"] == "wood" and "missing: bottle" in row["note"]
    cell = f"{100 * pro:.1f}"
    assert (
        f"| {cell} |" in (out / "table.md").read_text() and f"& {cell} &" in (out / "table.tex").read_text()
    )
    assert f"<td>{cell}</td>" in (out / "report.html").read_text()


def test_the_report_is_one_file_with_its_pictures_inside(tmp_path):
    drawn.mvtec_category(tmp_path / "cup<1>")
    run("folder", "--root", tmp_path / "cup<1>", "--out", tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page) and "http" not in page
    assert page.count("data:image/png") == 3 and page.count("data:image/jpeg") >= 5
    assert "cup&lt;1&gt;" in page and "cup<1>" not in page


def test_images_left_out_are_named_everywhere_and_set_the_exit_code(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "cup")
    drawn.write(folder / "ground_truth/crack/000_mask.png", np.zeros((24, 32), np.uint8))
    screen = run("folder", "--root", tmp_path, "--out", tmp_path / "out", code=3)
    assert "all black" in screen and "1 image left out" in screen
    for name, text in outputs(tmp_path / "out").items():
        assert "1 image left out" in text, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mvtek", "--root", "x"], "did you mean mvtec"),
        (["mvtec", "--root", "nowhere"], "no such folder"),
        (["mvtec", "--root", "data", "--category", "botle"], "did you mean bottle"),
        (["mvtec", "--root", "data", "--category", "wood"], "has no folder 'wood'"),
        (["folder", "--root", "data", "--category", "spoon"], "there are: bottle"),
        (["mvtec", "--root", "data/bottle"], "expected folders such as bottle"),
    ],
)
def test_wrong_input_says_what_was_expected(tmp_path, monkeypatch, arguments, words):
    drawn.mvtec_category(tmp_path / "data/bottle")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SteerAnomalyError, match=words):
        run(*arguments)


def test_only_mvtec_ad_2_has_private_splits(tmp_path):
    drawn.mvtec_category(tmp_path / "wood")
    output = run("mvtec", "--root", tmp_path, "--split", "private", code=2)
    assert "only MVTec AD 2 has it" in output


def test_a_missing_mask_stops_before_any_image_is_inspected(tmp_path, inspectors):
    folder = drawn.mvtec_category(tmp_path / "cup")
    (folder / "ground_truth/stain/000_mask.png").unlink()
    with pytest.raises(SteerAnomalyError, match=r"stain/000_mask\.png: not found"):
        run("folder", "--root", tmp_path, "--out", tmp_path / "out")
    assert inspectors == []
