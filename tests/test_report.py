"""The report is one file, holds every image, says what made it, and runs nothing that a file name says."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomaly.inspection import Inspection
from anomaly.regions import find_regions
from anomaly.report import page as report
from anomaly.runs.company_previews import GAP, TILE, save_likest
from anomaly.runs.folder import ResultFolder

INFO = {
    "command": "steer-anomaly inspect --object 'glass bottle' img/",
    "object": "glass bottle",
    "settings": {"model": "nano", "omega": 0.75, "prompts": ["the <b>anomaly</b>"]},
    "versions": {"torch": "9.9.9"},
    "card": "Trained on rendered scenes.\nNot for <script>alert(1)</script> use.",
    "note": "A small model: check it on parts you know.",
}


def inspect(i: int, side: int = 48, threshold: float | None = 0.5) -> tuple[np.ndarray, Inspection]:
    rng = np.random.default_rng(i)
    image = cv2.resize(rng.integers(0, 256, (side // 4, side // 3, 3), dtype=np.uint8), (side * 4 // 3, side))
    heatmap = np.zeros(image.shape[:2], np.float32)
    heatmap[5:15, 5 + i % 20 : 20 + i % 20] = (i % 100) / 100
    score = float(heatmap.max())
    mask = heatmap >= threshold if threshold and score >= threshold else np.zeros(heatmap.shape, bool)
    found = None if threshold is None else score >= threshold
    regions = find_regions(mask, heatmap)
    return image, Inspection(score, found, heatmap, mask, regions, threshold, "bottle", "nano", 20.0)


def make(out: Path, names: list[str], threshold: float | None = 0.5, fail: bool = False) -> str:
    with ResultFolder(out, INFO) as folder:
        for i, name in enumerate(names):
            image, inspection = inspect(i * 30, threshold=threshold)
            folder.write(f"n{i}", Path(name), image, inspection)
        if fail:
            folder.fail(Path("broken.png"), "the file is empty (0 bytes)")
    return (out / "report.html").read_text(encoding="utf-8")


def entries(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


class Tags(HTMLParser):
    """Gathers the tags of a page with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self._code = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._code = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._code = False

    def handle_data(self, data):
        self.text += "" if self._code else data


def test_nothing_is_loaded_from_outside(tmp_path):
    page = make(tmp_path / "out", ["a.png", "b.png"])
    parsed = Tags(page)
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed")
        assert not {"src", "srcset", "data", "action"} & attributes.keys(), (tag, attributes)
        assert attributes.get("href", "#") == "#"
    links = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert links <= {"http://www.w3.org/2000/svg"}  # the name of SVG, which no browser opens
    assert "@import" not in page and "url(" not in page


def test_every_image_is_there_worst_first_with_its_pictures(tmp_path):
    page = make(tmp_path / "out", ["a.png", "dir/b.png", "Größe 3.png"], fail=True)
    found = entries(page)
    assert [entry["f"] for entry in found] == ["Größe 3.png", "dir/b.png", "a.png", "broken.png"]
    assert [entry["v"] for entry in found] == ["defect", "ok", "ok", "unreadable"]
    assert found[0]["r"][0][0] == found[0]["c"] * 150 and len(found[0]["o"]) == 1
    assert found[3]["e"] == "the file is empty (0 bytes)"
    for entry in found[:3]:
        photo, heat = (np.frombuffer(base64.b64decode(entry[key]), np.uint8) for key in "pq")
        assert cv2.imdecode(photo, cv2.IMREAD_COLOR).shape == (48, 64, 3)
        assert cv2.imdecode(heat, cv2.IMREAD_UNCHANGED).shape == (48, 64, 4)


def test_the_page_says_what_it_was_made_with(tmp_path):
    text = " ".join(Tags(make(tmp_path / "out", ["a.png", "b.png", "c.png"], fail=True)).text.split())
    for words in (
        "1 of 3 images judged defective", "1 could not be read", "model nano", "glass bottle",
        INFO["command"], "0.75", "9.9.9", "Trained on rendered scenes.", INFO["note"],
    ):  # fmt: skip
        assert words in text
    assert "stopped" not in text


def test_without_a_threshold_nothing_is_called_defective(tmp_path):
    page = make(tmp_path / "out", ["a.png", "b.png", "c.png"], threshold=None)
    assert "3 images scored, none judged" in " ".join(Tags(page).text.split())
    assert {entry["v"] for entry in entries(page)} == {"unjudged"}


def test_a_stopped_run_and_an_empty_one_say_so(tmp_path):
    with pytest.raises(KeyboardInterrupt), ResultFolder(tmp_path / "out", INFO):
        raise KeyboardInterrupt
    text = Tags((tmp_path / "out" / "report.html").read_text()).text
    assert "stopped before its end" in text and "No image was inspected" in text


@pytest.mark.parametrize(
    "name",
    ["</script><script>alert(1)</script>.png", '"><img src=x onerror=alert(1)>.png', "a&lt;b'{{7*7}}.png"],
)
def test_file_names_are_text(tmp_path, name):
    page = make(tmp_path / "out", [name])
    assert entries(page)[0]["f"] == name
    parsed = Tags(page)
    assert name in parsed.text  # in the table for readers without JavaScript
    assert [tag for tag, _ in parsed.tags].count("script") == 4
    assert not any(tag == "img" for tag, _ in parsed.tags)
    assert not any(key.startswith("on") for _, attributes in parsed.tags for key in attributes)


def test_the_script_puts_nothing_into_the_page_as_markup():
    script = (Path(report.__file__).parent / "templates" / "report.js").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in script


def test_a_name_that_is_not_utf8_does_not_stop_the_report(tmp_path):
    page = make(tmp_path / "out", [b"caf\xe9.png".decode("utf-8", "surrogateescape")])
    assert len(entries(page)) == 1


def test_lost_previews_leave_the_line_without_a_picture(tmp_path):
    make(tmp_path / "out", ["a.png", "b.png"])
    (tmp_path / "out" / "previews" / "photo" / "n0.jpg").unlink()
    (tmp_path / "out" / "previews" / "heat" / "n1.png").write_bytes(b"")
    with ResultFolder(tmp_path / "out", INFO):
        pass  # going on with nothing left to do writes the report again
    found = entries((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert len(found) == 2 and not any("p" in entry for entry in found)


@pytest.mark.slow
def test_a_thousand_images_stay_below_40_mb(tmp_path):
    with ResultFolder(tmp_path / "out", INFO) as folder:
        lines = []
        for i in range(10):
            image, inspection = inspect(i * 10, side=200)
            lines.append(folder.write(f"n{i}", Path(f"{i}.png"), image, inspection))
    rows = [replace(line, file=f"{i}/{line.file}") for i in range(100) for line in lines]
    path = report.write_report(tmp_path / "out", folder.run, rows)
    assert 3e6 < path.stat().st_size < 40e6
    found = entries(path.read_text(encoding="utf-8"))
    assert len(found) == 1_000 and all("p" in entry for entry in found)


def test_beyond_the_budget_images_are_listed_without_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "PICTURE_BUDGET", 1)
    page = make(tmp_path / "out", ["a.png", "b.png", "c.png"])
    assert ["p" in entry for entry in entries(page)] == [True, False, False]
    assert "the 2 images with the lowest scores" in Tags(page).text


def test_what_the_verdicts_rest_on_is_said_before_any_count(tmp_path):
    note = "Produced by nano: small. Ranked, not judged on your parts: threshold 0.99 is a starting point."
    with ResultFolder(tmp_path / "out", INFO | {"note": note}) as folder:
        image, inspection = inspect(90)
        folder.write("a", Path("a.png"), image, inspection)
    words = " ".join(Tags((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text.split())
    assert words.index("Ranked, not judged on your parts") < words.index("1 of 1 image judged defective")
    assert words.count("Ranked, not judged") == 1 and "Produced by nano: small." in words


def test_what_lit_an_image_and_what_it_was_compared_with_is_shown(tmp_path):
    image, inspection = inspect(90)
    parts = {"text": np.ones((8, 8), np.float32), "company": np.zeros((4, 4), np.float32)}
    compared = replace(inspection, parts=parts, compared_with=45, closest="c" * 64, likest_patch=5)
    with ResultFolder(tmp_path / "out", INFO) as folder:
        save_likest(tmp_path / "out", "a", image, compared, image, (4, 4))
        folder.write("a", Path("a.png"), image, compared)
        folder.write("b", Path("b.png"), image, inspection)
    shown, alone = sorted(
        entries((tmp_path / "out" / "report.html").read_text(encoding="utf-8")), key=lambda one: one["n"]
    )
    assert (shown["k"], shown["b"]) == ([["text", 1.0], ["company", 0.0]], 45)
    sides = [cv2.imdecode(np.frombuffer(base64.b64decode(shown[key]), np.uint8), 1).shape for key in "lx"]
    assert sides[1] == (TILE, 2 * TILE + GAP, 3) and sides[0][1] > 1.5 * sides[0][0]
    assert "l" not in alone and "x" not in alone and alone["b"] is None
