"""The page of `pecmae explore` in a real browser: skipped where no chromium with its driver is installed."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pecmae import PECMAE

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from pecmae.explorer.server import address, build_app, listen  # noqa: E402
from pecmae.explorer.session import Session  # noqa: E402
from pecmae.explorer.uploads import Uploads  # noqa: E402
from test_browser import CHROMIUM, DRIVER, browser, furthest, note_the_time, problems, wait_for  # noqa: E402, F401
from test_explorer import HOSTILE, a_file, open_session  # noqa: E402

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver is installed")
TOKEN = "secret-of-the-test"


class Page:
    """The app as somebody sees it."""

    def __init__(self, driver, session: Session, url: str) -> None:
        self.driver, self.session, self.url = driver, session, url

    def open(self) -> "Page":
        self.driver.get_log("browser")
        self.driver.get(self.url)
        wait_for(lambda: self.all("#map .goal") and self.all("#tracks button"), "the model on the screen")
        return self

    def all(self, selector: str):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str):
        wait_for(lambda: self.all(selector), selector)
        return self.all(selector)[0]

    def text(self, selector: str) -> str:
        return self.driver.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def press(self, selector: str) -> None:
        element = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def keys(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def focused(self, attribute: str = "id") -> str:
        return self.driver.execute_script("return document.activeElement.getAttribute(arguments[0])", attribute) or ""

    def done(self) -> list[str]:
        return self.driver.execute_script(
            "return [...document.querySelectorAll('#history li')].map((item) => item.textContent)"
        )

    def choose(self, prototype: int) -> None:
        """By the keyboard of the map, as shapes may lie over one another."""
        element = self.one(f"[data-prototype='{prototype}']")
        self.driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", element)
        wait_for(lambda: self.one(f"[data-prototype='{prototype}']").get_attribute("aria-selected") == "true", "the choice")
        wait_for(lambda: self.all("#nearest li") and self.all("#remove"), "what is near")

    def remove(self, prototype: int) -> None:
        self.choose(prototype)
        self.press("#remove")
        before = len(self.session.editor.history)
        self.press("#apply")
        wait_for(lambda: len(self.session.editor.history) == before + 1 == len(self.done()), "the edit")


def served(driver, session: Session, *, token: str | None = TOKEN) -> Iterator[Page]:
    bound = listen("127.0.0.1", 0)
    app = build_app(session, Uploads(session.places.temporary), token=token)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield Page(driver, session, address(bound, "127.0.0.1", token or "").replace("//", "/").replace(":/", "://"))
    finally:
        driver.get("about:blank")
        server.should_exit = True
        thread.join()
        bound.close()
        session.close()


@pytest.fixture
def page(browser, tiny_model, tmp_path) -> Iterator[Page]:  # noqa: F811
    for page in served(browser, open_session(tiny_model, tmp_path)):
        yield page.open()
        assert problems(browser) == []


def test_the_model_is_on_the_screen(page):
    assert page.text("#title") == "tiny"
    assert len(page.all("#map .goal")) == 6
    assert len(page.all("#tracks button")) == 36
    total = page.session.editor.total()
    assert f"{100 * total.accuracy_before:.1f} % of 36 tracks" in page.text("#fare")


def test_a_prototype_is_heard_when_somebody_asks_and_not_before(page):
    note_the_time(page.driver)
    page.choose(3)
    wait_for(lambda: len(page.all("#prototype-body .sound")) == 4, "the sounds")
    assert page.driver.execute_script("return window.played.length") == 0
    page.press("#prototype-body .sound")
    wait_for(lambda: furthest(page.driver) > 0.1, "time")
    assert page.text("#prototype-name").startswith("jazz 2")


def test_dropped_files_are_labelled_and_heard(page, tiny_model, tmp_path):
    (tmp_path / "song.wav").write_bytes(a_file())
    page.driver.execute_script(
        """
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], 'song.wav'));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        """,
        base64.b64encode(a_file()).decode(),
    )
    prediction = tiny_model.predict(tmp_path / "song.wav")
    expected = f"{prediction.label} {prediction.score:.2f}"
    wait_for(lambda: expected in page.text("#tracks [data-track='f1']"), "the label")
    page.press("#tracks [data-track='f1']")
    page.one("#play-segment")
    assert page.text("#track-label") == prediction.label
    parts = [float(cell.text.replace("−", "-")) for cell in page.all("#reasons td.figure")]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.006 * len(parts))
    note_the_time(page.driver)
    page.press("[data-segment='2']")
    wait_for(lambda: page.one("[data-segment='2']").get_attribute("aria-pressed") == "true", "the segment")
    page.press("#play-segment")
    # The third segment begins at 0.8 s.
    wait_for(lambda: furthest(page.driver) > 0.8, "time")


def test_a_hostile_name_is_shown_as_text(page, tmp_path):
    (tmp_path / "x.wav").write_bytes(a_file())
    page.driver.execute_script(
        """
        const transfer = new DataTransfer();
        transfer.items.add(new File(['no sound'], arguments[0]));
        document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        """,
        HOSTILE,
    )
    wait_for(lambda: page.all("#tracks [data-track='f1'][disabled]"), "the name")
    wait_for(lambda: HOSTILE in page.text("#tracks [data-track='f1']"), "the name")
    assert page.driver.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    page.choose(0)
    page.one("#new-name").send_keys("<img src=x>")
    page.press("#rename")
    page.press("#apply")
    wait_for(lambda: "<img src=x>" in page.text("#legend"), "the new name")
    assert page.driver.execute_script("return document.querySelectorAll('img[src=x]').length") == 0


def test_an_edit_is_seen_done_undone_and_exported(page, tmp_path):
    page.choose(4)
    page.press("#remove")
    page.one("#apply")
    effect = page.session.preview({"edit": {"kind": "remove", "prototype": 4}, "revision": 0})["effect"]
    before, after = (f"{100 * value:.1f} %" for value in effect["accuracy"])
    said = page.text("#preview-fare")
    assert f"{before} → {after}" in said if effect["changed"] else after in said
    assert page.session.editor.history == ()
    page.press("#apply")
    # Whether it has to be insisted on depends on the last bits of a random model.
    wait_for(lambda: [text.removesuffix(" (insisted on)") for text in page.done()] == ["remove rock 1"], "the edit")
    assert len(page.all("#map .goal")) == 5
    page.press("#undo")
    wait_for(lambda: len(page.all("#map .goal")) == 6, "the undoing")
    page.press("#redo")
    wait_for(lambda: len(page.all("#map .goal")) == 5, "the redoing")
    page.press("#export")
    wait_for(lambda: "Exported to" in page.text("#fare"), "the export")
    model = PECMAE.from_pretrained(tmp_path / "exports" / "tiny-edited", device="cpu", dtype="float32")
    for index in (0, 17, 35):
        prediction = model.classify(page.session.shelf.embedding(f"m{index}"))
        assert f"{prediction.label} {prediction.score:.2f}" in page.text(f"#tracks [data-track='m{index}']")


def test_a_harmful_edit_is_marked_and_needs_another_word(page):
    page.choose(2)
    page.press("#prototype-body .weights summary")
    field = page.all(".weights input")[1]
    field.clear()
    field.send_keys("1000", Keys.TAB)
    wait_for(lambda: page.all("#preview.refused"), "the warning")
    assert page.text("#apply") == "Apply all the same"
    page.press("#apply")
    wait_for(lambda: "insisted on" in page.text("#history"), "the edit")


def test_pruning_says_how_many_can_go(page):
    page.press("#prune")
    wait_for(lambda: page.all("#curve-says"), "the curve")
    first = next((n for n, point in enumerate(page.session.pruning({})["curve"]) if point["falls"]), None)
    assert page.text("#curve-says").startswith("The interval never" if first is None else f"{first} can go")
    page.press("#preview-take-out")
    wait_for(lambda: page.all("#apply"), "the preview")


def test_a_moment_becomes_a_prototype_and_moments_a_class(page):
    page.press("#tracks [data-track='m3']")
    page.press("#add")
    page.press("#apply")
    wait_for(lambda: len(page.all("#map .goal")) == 7, "the prototype")
    page.press("#collect")
    wait_for(lambda: "the 1 collected" in page.text("#track"), "the collection")
    page.press("[data-segment='1']")
    wait_for(lambda: page.one("[data-segment='1']").get_attribute("aria-pressed") == "true", "the segment")
    page.press("#collect")
    wait_for(lambda: "the 2 collected" in page.text("#track"), "the collection")
    page.one("#class-name").send_keys("polka")
    page.press("#add-class")
    page.press("#apply")
    wait_for(lambda: "polka" in page.text("#legend"), "the class")
    assert len(page.all("#map .goal")) == 9


def test_the_way_to_another_class_is_heard_step_by_step(page):
    page.press("#tracks [data-track='m0']")
    page.press("#walk")
    slider = page.one("#walk-slider")
    flips = []
    for step in range(int(slider.get_attribute("max")) + 1):
        if step:
            slider.send_keys(Keys.ARROW_RIGHT)
        if "Here the label flips" in page.text("#walk-says"):
            flips.append(step)
    assert len(flips) == 1
    wait_for(lambda: page.all(".walk-place .sound"), "the sound")
    note_the_time(page.driver)
    page.press(".walk-place .sound")
    wait_for(lambda: furthest(page.driver) > 0.1, "time")


def test_all_is_done_by_keyboard(page):
    note_the_time(page.driver)
    for _ in range(30):
        if page.focused("role") == "option":
            break
        page.keys(Keys.TAB)
    first = page.focused("data-prototype")
    ways = (Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_DOWN, Keys.ARROW_UP)
    for way in ways:
        page.keys(way)
        if page.focused("data-prototype") != first:
            break
    assert page.focused("data-prototype") not in ("", first)
    assert page.driver.execute_script("return window.played.length") == 0
    page.keys(Keys.ENTER)
    wait_for(lambda: page.driver.execute_script("return window.played.length"), "the sound")
    wait_for(lambda: page.all("#remove"), "the edits")
    for _ in range(40):
        if page.focused() == "remove":
            break
        page.keys(Keys.TAB)
    page.keys(Keys.ENTER)
    wait_for(lambda: page.all("#apply") and page.focused() == "preview", "the preview")
    page.keys(Keys.ESCAPE)
    wait_for(lambda: not page.one("#preview").is_displayed() and page.focused() == "remove", "the page as before")
    page.keys(Keys.ENTER)
    wait_for(lambda: page.focused() == "preview", "the preview")
    while page.focused() != "apply":
        page.keys(Keys.TAB)
    page.keys(Keys.ENTER)
    wait_for(lambda: len(page.done()) == 1, "the edit")
    page.keys("z")
    wait_for(lambda: page.done() == [], "the undoing")
    page.keys("/")
    wait_for(lambda: page.focused("data-track") == "m0", "the tracks")
    page.keys(Keys.ARROW_DOWN, Keys.ENTER)
    wait_for(lambda: page.text("#track-name") == "track 1", "the track")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_any_width(page, width):
    page.press("#tracks [data-track='m0']")
    page.choose(0)
    page.press("#prune")
    wait_for(lambda: page.all("#curve-says"), "the curve")
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_everything_that_can_be_used_has_a_name_and_room_for_a_finger(page):
    page.press("#tracks [data-track='m0']")
    page.press("#walk")
    page.one("#walk-slider")
    page.choose(0)
    page.driver.execute_script("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    for element in page.all("button, select, input, a, summary, [role=option]"):
        assert element.accessible_name or not element.is_displayed(), element.get_attribute("outerHTML")
    sizes = page.driver.execute_script(
        "return [...document.querySelectorAll('button, select, summary')].map((e) => [e.offsetHeight, e.id || e.className])"
    )
    assert [(height, name) for height, name in sizes if 0 < height < 24] == []


def test_dark_and_light_differ(page):
    colours = set()
    for scheme in ("dark", "light"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours.add(page.one("body").value_of_css_property("background-color"))
    assert len(colours) == 2


def test_two_tabs_agree(page):
    driver, first = page.driver, page.driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        driver.get(page.url)
        wait_for(lambda: len(page.all("#map .goal")) == 6, "the model")
        page.remove(1)
        driver.switch_to.window(first)
        wait_for(lambda: len(page.all("#map .goal")) == 5 and len(page.done()) == 1, "the edit of the other tab")
        page.press("#undo")
        driver.switch_to.window(driver.window_handles[-1])
        wait_for(lambda: len(page.all("#map .goal")) == 6, "the undoing of the other tab")
    finally:
        driver.switch_to.window(driver.window_handles[-1])
        driver.close()
        driver.switch_to.window(first)


def test_edits_of_an_app_that_died_are_offered(browser, tiny_model, tmp_path):  # noqa: F811
    dead = open_session(tiny_model, tmp_path)
    dead.apply({"edit": {"kind": "remove", "prototype": 0}, "revision": 0, "insist": True})
    for page in served(browser, open_session(tiny_model, tmp_path)):
        page.open()
        assert "remove blues 1" in page.text("#unsaved")
        page.press("#recover")
        wait_for(lambda page=page: page.text("#history").startswith("remove blues 1"), "the edit")
        assert not page.one("#unsaved").is_displayed()
        assert problems(browser) == []
    dead.close()


def test_a_public_app_shows_no_way_to_change_anything(browser, tiny_model, tmp_path):  # noqa: F811
    for page in served(browser, open_session(tiny_model, tmp_path, read_only=True), token=None):
        page.open()
        page.press("#tracks [data-track='m0']")
        wait_for(lambda page=page: page.all("#walk"), "the track")
        wait_for(lambda page=page: page.all("#nearest li"), "what is near")
        shown = [element.get_attribute("id") for element in page.all(".edits, #remove, #add, #apply") if element.is_displayed()]
        assert shown == []
        assert not page.one("#undo").is_enabled()
        assert problems(browser) == []


def test_a_page_of_a_stranger_reaches_nothing(page, tmp_path):
    stranger = tmp_path / "stranger.html"
    stranger.write_text("<title>stranger</title>")
    page.driver.get(Path(stranger).as_uri())
    said = page.driver.execute_async_script(
        """
        const [url, done] = arguments;
        const edit = JSON.stringify({edit: {kind: 'remove', prototype: 0}, revision: 0, insist: true});
        Promise.allSettled([
          fetch(url + 'model').then((answer) => answer.text()),
          fetch(url + 'apply', {method: 'POST', body: edit, mode: 'no-cors'}).then((answer) => answer.type),
          fetch(url + 'apply', {method: 'POST', body: edit, headers: {'Content-Type': 'application/json'}}),
        ]).then((found) => done(found.map((one) => one.value || one.status)));
        """,
        page.url,
    )
    assert said == ["rejected"] * 3
    assert page.session.editor.history == ()
    page.driver.get("about:blank")
    assert all("CORS" in entry or "403" in entry or "ERR_" in entry for entry in problems(page.driver))
