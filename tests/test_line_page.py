"""The page in headless Chromium: live update, upload, calibration, feedback; no error, nothing from elsewhere."""

import shutil
import socket
import threading
import time

import pytest

pytest.importorskip("fastapi")

from drawn_parts import plates

from anomaly.line.app import application
from anomaly.line.limits import Limits
from anomaly.line.service import Service
from anomaly.line.shelf import Shelf

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    import uvicorn

    folder = tmp_path_factory.mktemp("page")
    (folder / "profiles").mkdir()
    plates(folder / "good", range(5))
    plates(folder / "test", [200], defect=True)
    service = Service(Shelf(folder / "profiles"), folder / "line", Limits())
    listening = socket.create_server(("127.0.0.1", 0))
    made = application(service, None, ("127.0.0.1",))
    server = uvicorn.Server(uvicorn.Config(made, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", folder
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser, address):
    """A page that fails the test for errors on its console and for requests that leave the service."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made, wrong = context.new_page(), []
    made.set_default_timeout(120_000)
    made.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("request", lambda asked: wrong.append(asked.url) if not ours(asked.url, address[0]) else None)
    yield made
    context.close()
    assert wrong == []


def until(page, expression):
    """Wait for it; the page's own policy forbids Playwright's way, which evaluates text inside of the page."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        time.sleep(0.1)
    raise AssertionError(expression)


def ours(url, address):
    return url.startswith((f"{address}/", "blob:", "data:"))


def send(address, path, profile):
    httpx = pytest.importorskip("httpx")
    answer = httpx.post(
        f"{address}/v1/inspect",
        files={"image": (path.name, path.read_bytes())},
        data={"profile": profile},
        timeout=180,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_from_thirty_good_pictures_to_a_correction(address, page):
    place, folder = address
    page.goto(place)
    page.locator("#how", has_text="make a profile").wait_for()  # and how to send one
    page.get_by_role("button", name="Unfit").click()
    page.locator("#none", has_text="No such part").wait_for()
    assert not page.locator("#how").is_visible()
    page.get_by_role("link", name="Profiles").click()
    page.get_by_label("Name").fill("plate")
    page.get_by_role("button", name="Go on to its pictures").click()

    # Drop pictures, calibrate, see the promise, let it judge.
    page.locator("#files").set_input_files([str(path) for path in sorted((folder / "good").iterdir())])
    page.locator("#goods figure").nth(4).wait_for()
    page.locator("#added", has_text="5 added").wait_for()
    page.get_by_role("button", name="Calibrate").click()
    page.get_by_role("button", name="Let it judge from now on").click()
    page.locator("#promise", has_text="of 5 good parts").wait_for()
    assert page.locator("#versions .now").inner_text().split()[0] == "1"

    # A part comes while the page is open.
    page.goto(place)
    page.locator("#link").wait_for(state="attached")
    answer = send(place, folder / "test" / "200.png", "plate")
    page.locator(f'#grid .card[data-id="{answer["id"]}"]').wait_for()
    assert page.locator("#verdict").inner_text().strip().endswith("Defect")
    assert page.locator("#counts").inner_text().startswith("1")
    assert "drift" in page.locator("#promises").inner_text()
    page.evaluate(
        "changed = performance.now(); judgeNewest('good')"
    )  # perhaps for the part before: press again
    page.locator("#came", has_text=f"Part {answer['id']} has just come").wait_for()
    card = page.locator("#grid .card").first
    card.hover()
    until(page, "getComputedStyle(document.querySelector('#grid .card .heat')).opacity > 0.5")

    # Open it by the keyboard, say that it was good, see what would change, apply, go back.
    card.focus()
    page.keyboard.press("Enter")
    page.locator("#photo .photo").wait_for()
    page.locator("#neighbour .photo").wait_for()
    for name in ("photo", "neighbour"):
        until(page, f"document.querySelector('#{name} img').naturalWidth > 0")
    page.keyboard.press("g")
    page.locator("#came", has_text="false alarm").wait_for()
    page.get_by_role("link", name="See what would change").click()
    page.locator("#proposal", has_text="would be judged otherwise").wait_for()
    page.get_by_role("button", name="Let it judge from now on").click()
    page.locator("#versions .now", has_text="was good").wait_for()
    page.get_by_role("button", name="Go back to it").click()
    page.locator("#versions .now", has_text="back to version 1").wait_for()


@pytest.mark.parametrize("size", [(360, 740), (3840, 2160)], ids=["phone", "wall"])
def test_nothing_sticks_out_and_everything_has_a_name(address, browser, size):
    place, _ = address
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    for path in ("/", "/parts/1", "/profiles", "/profiles/plate", "/login"):
        page.goto(place + path)
        time.sleep(0.3)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate("[...document.images].every(one => one.hasAttribute('alt'))"), path
        named = "[...document.querySelectorAll('button, a, input, select')].filter(one => one.checkVisibility() && "
        named += "!(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).length"
        assert page.evaluate(named) == 0, path
    context.close()
