import json
import shutil

import cv2
import drawn_datasets as drawn
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from fake_inspector import FakeInspector

from anomaly.commands import options
from anomaly.commands.eval import eval_command
from anomaly.commands.score import score
from anomaly.errors import SteerAnomalyError

NAMES = ["pixel_auroc", "pixel_ap", "pixel_f1_max", "pro", "image_auroc", "image_ap", "image_f1_max"]


def run(command, *arguments, code=0):
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if isinstance(result.exception, SteerAnomalyError):
        raise result.exception
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """A drawn test set and the output of an evaluation with its maps."""
    base = tmp_path_factory.mktemp("evaluation")
    drawn.mvtec_category(base / "data/cup", good=4, each=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "make_inspector", lambda **others: FakeInspector())
        run(eval_command, "folder", "--root", base / "data", "--out", base / "run", "--save-maps")
    return base


@pytest.fixture
def evaluated(evaluation, tmp_path):
    return shutil.copytree(evaluation, tmp_path / "copy")


def figures(out, category="cup"):
    entry = json.loads((out / "metrics.json").read_text())["categories"][category]
    return {name: entry[name] for name in NAMES}


def test_kept_maps_give_the_evaluations_figures_without_the_model(evaluated):
    run(score, evaluated / "run", "--gt", evaluated / "data", "--out", evaluated / "again", "--draws", 0)
    assert figures(evaluated / "again") == figures(evaluated / "run")
    assert json.loads((evaluated / "again/metrics.json").read_text())["model"] == "fake"


@pytest.mark.parametrize("suffix", ["npy", "png", "tif"])
def test_maps_of_other_kinds_and_names(evaluated, suffix):
    """Any order-preserving file scores the same pixels; here float NPY, 16-bit PNG, without the category."""
    theirs = evaluated / "theirs"
    for path in (evaluated / "run/maps/cup").rglob("*.tiff"):
        score_map = tifffile.imread(path)
        target = (theirs / path.relative_to(evaluated / "run/maps/cup/test")).with_suffix(f".{suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "npy":
            np.save(target, score_map.astype(np.float64) * 3 + 5)
        elif suffix == "png":
            cv2.imwrite(str(target), np.round(score_map * 300 + 20000).astype(np.uint16))
        else:
            tifffile.imwrite(target, score_map)
    out = evaluated / "scored"
    screen = run(
        score, theirs, "--gt", evaluated / "data", "--out", out, "--draws", 20, "--name", "theirs v2"
    )
    mine, original = figures(out), figures(evaluated / "run")
    assert mine["pro"] == pytest.approx(original["pro"], abs=2e-3 if suffix == "png" else 1e-6)
    assert mine["pixel_auroc"] == pytest.approx(
        original["pixel_auroc"], abs=2e-3 if suffix == "png" else 1e-6
    )
    assert "theirs v2" in screen


def test_intervals_hold_the_figure_and_a_better_method_wins(evaluated):
    rng = np.random.default_rng(0)
    for path in (evaluated / "run/maps").rglob("*.tiff"):
        worse = tifffile.imread(path) + rng.normal(0, 40, (24, 32)).astype(np.float32)
        target = evaluated / "worse" / path.relative_to(evaluated / "run/maps")
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, worse)
    out = evaluated / "compared"
    arguments = ("--gt", evaluated / "data", "--against", evaluated / "worse", "--draws", 200, "--out", out)
    screen = run(score, evaluated / "run", *arguments)
    found = json.loads((out / "intervals.json").read_text())["cup"]
    pro = found["intervals"]["pro"]
    assert pro["low"] <= pro["value"] <= pro["high"] and pro["value"] == pytest.approx(
        figures(out)["pro"], abs=2e-3
    )
    difference = found["difference"]["pixel_auroc"]
    assert difference["interval"]["low"] > 0 and difference["p_value"] < 0.05
    assert "95 % intervals, 200 draws" in screen and "Minus" in screen and "p=0.0" in screen


def test_a_method_against_itself_does_not_differ(evaluated):
    arguments = (
        "--gt",
        evaluated / "data",
        "--against",
        evaluated / "run",
        "--draws",
        50,
        "--out",
        evaluated / "o",
    )
    run(score, evaluated / "run", *arguments)
    found = json.loads((evaluated / "o/intervals.json").read_text())["cup"]["difference"]
    assert all(d["interval"]["value"] == 0 and d["p_value"] == 1 for d in found.values())


def test_a_folder_of_masks_is_enough(evaluated):
    masks = evaluated / "masks"
    for path in (evaluated / "data/cup/ground_truth").rglob("*.png"):
        drawn.write(masks / f"{path.parent.name}{path.stem}.png", cv2.imread(str(path), -1))
    drawn.write(masks / "good.png", np.zeros((24, 32), np.uint8))
    maps = evaluated / "flat"
    maps.mkdir()
    for path in (evaluated / "run/maps/cup/test").rglob("*.tiff"):
        shutil.copy(path, maps / f"{path.parent.name}{path.stem}_mask.tiff")
    shutil.copy(evaluated / "run/maps/cup/test/good/000.tiff", maps / "good.tiff")
    run(score, maps, "--gt", masks, "--draws", 0, "--out", evaluated / "scored")
    entry = json.loads((evaluated / "scored/metrics.json").read_text())["categories"]["masks"]
    assert (entry["good"], entry["defective"]) == (1, 6) and entry["pro"] > 0.5


def test_the_masks_of_a_test_set_are_enough_and_maps_keep_their_images_names(evaluated):
    """As `--gt` promises "the test set, or its masks": `ground_truth/<defect>/<image>_mask.png`."""
    truth = evaluated / "data/cup/ground_truth"
    run(score, evaluated / "run", "--gt", truth, "--draws", 0, "--out", evaluated / "scored")
    (name, entry), *others = json.loads((evaluated / "scored/metrics.json").read_text())["categories"].items()
    assert name == "cup" and not others and entry["pro"] > 0.5
    assert (entry["good"], entry["defective"]) == (0, 6) and entry["image_auroc"] is None


def test_a_run_and_its_maps_have_the_same_image_scores(evaluated):
    arguments = ("--gt", evaluated / "data", "--draws", 20, "--out", evaluated / "o")
    for ours, theirs in (("run", "run/maps"), ("run/maps", "run")):
        screen = run(score, evaluated / ours, "--against", evaluated / theirs, *arguments)
        found = json.loads((evaluated / "o/intervals.json").read_text())["cup"]["difference"]
        assert all(d["interval"]["value"] == 0 for d in found.values())
        assert screen.count("those that eval kept") == 2
    shutil.copytree(evaluated / "run/maps", evaluated / "elsewhere")
    screen = run(score, evaluated / "run", "--against", evaluated / "elsewhere", *arguments)
    assert "elsewhere: the highest value of each map" in screen


def test_a_missing_map_is_named(evaluated):
    (evaluated / "run/maps/cup/test/good/000.tiff").unlink()
    with pytest.raises(SteerAnomalyError, match=r"test/good/000\.tiff: no such map.*1 of 10 images"):
        run(score, evaluated / "run", "--gt", evaluated / "data")


def test_maps_of_another_size_need_resize(evaluated):
    for path in (evaluated / "run/maps").rglob("*.tiff"):
        tifffile.imwrite(path, cv2.resize(tifffile.imread(path), (16, 12), interpolation=cv2.INTER_AREA))
    arguments = (score, evaluated / "run", "--gt", evaluated / "data", "--draws", 0)
    with pytest.raises(
        SteerAnomalyError, match=r"no image was counted.*is 16 x 12 px, its image 32 x 24 px.*have it resized"
    ):
        run(*arguments)
    run(*arguments, "--resize", "--out", evaluated / "scored")
    assert figures(evaluated / "scored")["pro"] > 0.5


def test_nan_and_colour_in_a_map_leave_that_image_out_by_name(evaluated):
    maps = evaluated / "run/maps/cup/test"
    broken = tifffile.imread(maps / "good/001.tiff")
    broken[0, 0] = np.nan
    tifffile.imwrite(maps / "good/001.tiff", broken)
    tifffile.imwrite(maps / "good/002.tiff", np.zeros((24, 32, 3), np.uint8), photometric="rgb")
    (maps / "good/003.tiff").write_bytes(b"II*")
    screen = run(score, evaluated / "run", "--gt", evaluated / "data", "--draws", 0, code=3)
    assert "001.tiff: the map holds NaN in 1 of 768 pixels" in screen and "3 images left out" in screen
    assert "002.tiff: expected one real number per pixel" in screen and "003.tiff: cannot read" in screen


def test_a_benchmarks_card_gives_categories_and_the_limit(tmp_path):
    drawn.mvtec_ad_2(tmp_path / "data")
    for path in (tmp_path / "data/can/test_public").glob("[bg]*/*.png"):
        target = tmp_path / f"maps/can/test_public/{path.parent.name}/{path.stem}.tiff"
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, cv2.imread(str(path), 0).astype(np.float32))
    arguments = ("--gt", tmp_path / "data", "--as", "mvtec-ad-2", "--category", "can", "--draws", 0)
    screen = run(score, tmp_path / "maps", *arguments)
    assert "false-positive rate of 0.05" in screen and "NOT THE FULL BENCHMARK" in screen


def test_neither_a_test_set_nor_masks(evaluated):
    (evaluated / "empty").mkdir()
    with pytest.raises(SteerAnomalyError, match="no test set found"):
        run(score, evaluated / "run", "--gt", evaluated / "empty")
