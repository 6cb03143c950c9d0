import hashlib
import shutil
import tarfile

import drawn_datasets as drawn
import numpy as np
import pytest
import test_download
from click.testing import CliRunner
from test_download import server  # noqa: F401  (the fixture)

from anomaly.commands.datasets import datasets
from anomaly.errors import SteerAnomalyError
from anomaly.testsets import cards


def run(*arguments):
    return CliRunner().invoke(datasets, [str(a) for a in arguments])


def test_list_names_every_benchmark_and_marks_restricted_ones():
    output = run("list").output
    assert all(name in output for name in cards.names())
    assert "mvtec        *" in output and "visa          " in output


def test_info_shows_categories_licence_hash_and_published_figures():
    output = run("info", "mvtec").output
    assert "CC BY-NC-SA 4.0" in output and "cf4313b1" in output
    assert "metal nut" in output and "WinCLIP" in output and "82.1" in output
    assert "group     good  defective" in output


def test_info_on_an_unknown_name():
    result = run("info", "vissa")
    assert isinstance(result.exception, SteerAnomalyError) and "did you mean visa" in str(result.exception)


@pytest.fixture
def card_of_ours(server, tmp_path, monkeypatch):  # noqa: F811
    drawn.mvtec_category(tmp_path / "made/cup")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "made/cup", "cup")
    body = (tmp_path / "set.tar").read_bytes()
    monkeypatch.setattr(test_download, "BODY", body)
    path = tmp_path / "cups.yaml"
    path.write_text(
        "title: Cups\nabout: cups\nlayout: mvtec\npage: p\n"
        "categories: {cup: {object: cup, good: 2, defective: 4}}\n"
        "licence: {name: Research Only, url: u, restricted: true, note: no shops}\n"
        f"archives: [{{file: set.tar, url: '{server.url}', sha256: {hashlib.sha256(body).hexdigest()}}}]\n"
    )
    return path


def test_get_asks_for_the_licence_then_fetches_verifies_and_unpacks(card_of_ours, tmp_path):
    root = tmp_path / "data"
    refused = run("pull", card_of_ours, "--root", root)
    assert refused.exit_code == 2 and "Research Only: no shops" in refused.output
    assert "--accept-licence" in refused.output and not root.exists()
    result = run("pull", card_of_ours, "--root", root, "--accept-licence")
    assert result.exit_code == 0, result.output
    assert "100.0%" in result.output and [p.name for p in root.iterdir()] == ["cup"]
    assert run("check", root, "--as", card_of_ours).output.endswith("No problems found\n")


def test_get_without_an_archive_points_to_the_page():
    result = run("pull", "dagm", "--accept-licence")
    assert result.exit_code == 1 and "dagm/2007" in result.output


def test_check_finds_every_kind_of_problem(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "cup", defects=("crack", "stain", "hole"), each=2)
    (folder / "ground_truth/crack/000_mask.png").unlink()
    drawn.write(folder / "ground_truth/crack/001_mask.png", np.zeros((24, 32), np.uint8))
    drawn.write(folder / "ground_truth/stain/000_mask.png", np.ones((30, 40), np.uint8))
    (folder / "test/stain/001.png").write_bytes((folder / "test/stain/000.png").read_bytes()[:60])
    (folder / "train/good").mkdir(parents=True)
    shutil.copy(folder / "test/good/000.png", folder / "train/good/other.png")
    result = run("check", tmp_path)
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.split(" ")[0].islower()]
    kinds = sorted(line.split()[0] for line in lines if "cup" in line.split()[1:2])
    assert kinds == ["duplicate", "mask", "mask", "missing", "unreadable"], result.output
    for text in (
        "000_mask.png: not found",
        "all black",
        "larger than its image",
        "stain/001.png",
        "good/000.png",
    ):
        assert text in result.output
    assert "5 problems" in result.output


def test_check_recognises_a_benchmark_and_counts(tmp_path):
    drawn.visa(tmp_path)
    result = run("check", tmp_path)
    assert "as VisA" in result.output and result.exit_code == 1
    assert result.output.count("expected 100 good and 100 defective test images, found 2 and 3") == 5


def test_check_knows_training_sources(tmp_path):
    import training_miniatures as draw

    from anomaly.cli import main

    command = ["datasets", "check", str(draw.refcoco(tmp_path / "refer"))]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "as the training source refcoco" in done.output
    (tmp_path / "elsewhere").mkdir()
    missing = CliRunner().invoke(main, [*command, "--with", f"images={tmp_path / 'elsewhere'}"])
    assert missing.exit_code == 1, missing.output
    assert CliRunner().invoke(main, [*command, "--with", "images"]).exit_code == 2
