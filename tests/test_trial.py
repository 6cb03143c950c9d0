"""The report's slider, in a real browser: what it shows is what the command that it writes then judges."""

import re
import shlex
import shutil
from contextlib import contextmanager

import pytest
from drawn_parts import plates
from test_judge_command import finished, profile, rows, run

from anomaly.decision import profile_file

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open a report with"),
]


@contextmanager
def opened(report):
    """A page of the report; errors of its scripts fail the test."""
    sync = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser, it is not installed"
    )
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, errors = browser.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(report.as_uri())
        yield page
        browser.close()
    assert errors == []


def moved(page, place):
    """Drag the slider to `place`, 0..1, and wait until outlines are drawn."""
    page.evaluate(
        """async (place) => {
            const slider = document.getElementById("line");
            slider.value = 1000 * place;
            slider.dispatchEvent(new Event("input"));
            for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
        }""",
        place,
    )
    page.wait_for_function("!all.some((e) => e.drawing)")


def seen(page):
    """Of each card the verdict, how many regions it says there are, and whether something is outlined."""
    return page.evaluate(
        "[...document.querySelectorAll('.card')].map((c) => [c.querySelector('.name').textContent.trim(), "
        "c.querySelector('.tag').textContent, parseInt(c.querySelector('.count')?.textContent ?? '0'), "
        "c.querySelectorAll('svg path').length > 0])"
    )


def test_the_slider_judges_as_the_command_that_it_writes(tmp_path):
    paths = plates(tmp_path / "img", range(5)) + plates(tmp_path / "img", range(10, 14), defect=True)
    out = finished(tmp_path / "out", paths, 40, 30)
    good = plates(tmp_path / "good", range(100, 160))
    profile_file.save(profile(good), tmp_path / "p")
    assert run(out, "--profile", tmp_path / "p").exit_code == 0
    with opened(out / "report.html") as page:
        before = seen(page)
        assert sum(tag == "Defect" for _, tag, _, _ in before) == 4
        assert "spreads" in page.inner_text(
            ".card >> nth=0"
        ) and "false alarms at most 4.9" in page.inner_text("#whatif")
        moved(page, 0.999)
        assert 0 < sum(tag == "Defect" for _, tag, _, _ in seen(page)) < 4
        assert page.inner_text("[data-show=defect] b") == page.inner_text("#verdicts").split()[0]
        moved(page, 0.01)
        tried, typed = seen(page), page.inner_text("#typed")
        assert sum(tag == "Defect" for _, tag, _, _ in tried) > 4 and "no promise" not in page.inner_text(
            "#whatif"
        )
        page.keyboard.press("?")
        assert page.locator("dialog#keys").is_visible() and "search names" in page.inner_text("#keys")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.wait_for_timeout(100)
        assert seen(page) == before and not page.locator("#back").is_visible()
    words = shlex.split(typed)
    assert words[:3] == ["steer-anomaly", "judge", "out"]
    assert run(out, *words[3:]).exit_code in (0, 5)
    judged = {row["file"].rsplit("/", 1)[-1]: row for row in rows(out)}
    for name, tag, regions, outlined in tried:
        row = judged[re.search(r"[^/]+\.png$", name)[0]]
        assert tag.lower() == row["verdict"]
        assert outlined == (row["verdict"] == "defect")
        if row["verdict"] == "defect":  # the browser sees the heatmap in 256 steps
            assert regions == pytest.approx(int(row["regions"]), abs=max(2, 0.3 * int(row["regions"])))


def test_a_run_without_a_profile_can_be_tried_too(tmp_path):
    good, bad = plates(tmp_path / "img", range(3)), plates(tmp_path / "img", range(10, 12), defect=True)
    out = finished(tmp_path / "out", good + bad, 40, 30)
    with opened(out / "report.html") as page:
        moved(page, 0.6)
        assert page.inner_text("#verdicts") == "2 of 5" and "false alarms" not in page.inner_text("#whatif")
        page.click("[data-show=defect]")
        assert [tag for _, tag, _, _ in seen(page)] == ["Defect", "Defect"]
        page.keyboard.press("t")
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(100)
        assert page.inner_text("#typed").startswith("steer-anomaly judge out --threshold ")
