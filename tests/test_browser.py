"""The pages in a real browser: skipped where no chromium with its driver is installed."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pecmae import PECMAE
from pecmae.explain.gallery import write_gallery
from pecmae.explain.report import build_report, describe_track, explain_tracks
from pecmae.explain.sounds import PrototypeSounds
from pecmae.prototypes.calibration import calibrate
from test_calibration import tracks_around
from test_report import HOSTILE, tiny_neighbours

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver is installed")

RATE = 24_000


@pytest.fixture(scope="module")
def browser():
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture(scope="module")
def report_page(tiny_model, tmp_path_factory, cache) -> Path:
    """Two tracks of five tiny segments, the second segment silent; the first track is named to do harm."""
    folder = tmp_path_factory.mktemp("report")
    t = np.arange(5 * 9600 - 3000) / RATE
    tone = (0.4 * np.sin(2 * np.pi * 220 * t * (1 + t))).astype(np.float32)
    tone[9600:19200] = 0
    for name in (HOSTILE, "second.wav"):
        soundfile.write(folder / name, tone, RATE)
    neighbours = tiny_neighbours(tiny_model, tone[:26_400])
    sounds = PrototypeSounds(tiny_model, cache)
    paths = [folder / HOSTILE, folder / "second.wav"]
    explain_tracks(tiny_model, paths, folder / "report.html", name="tiny", neighbours=neighbours, sounds=sounds)
    return folder / "report.html"


@pytest.fixture(scope="module")
def calibrated_page(tiny_model, tmp_path_factory, cache) -> Path:
    """A track by a model that knows what is usual."""
    folder = tmp_path_factory.mktemp("calibrated")
    tracks = tracks_around(tiny_model.head, 60)
    model = PECMAE(
        tiny_model.autoencoder, tiny_model.head, tiny_model.labels, calibration=calibrate(tiny_model.head, tracks, tracks)
    )
    soundfile.write(folder / "tone.wav", 0.4 * np.sin(np.arange(26_400) / 9), RATE)
    label = model.predict(folder / "tone.wav").label
    rival = next(name for name in model.labels if name != label)
    track = describe_track(model, folder / "tone.wav", counterfactual=rival)
    build_report(model, [track], name="tiny", sounds=PrototypeSounds(model, cache)).write(folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def gallery_page(tiny_model, tmp_path_factory, cache) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "gallery.html"
    neighbours = tiny_neighbours(tiny_model, np.sin(np.arange(26_400) / 9).astype(np.float32) / 2)
    write_gallery(tiny_model, path, name="tiny", neighbours=neighbours, sounds=PrototypeSounds(tiny_model, cache), seeds=(0, 1))
    return path


@pytest.fixture
def report(browser, report_page):
    yield opened(browser, report_page)
    assert problems(browser) == []


@pytest.fixture
def gallery(browser, gallery_page):
    yield opened(browser, gallery_page)
    assert problems(browser) == []


def opened(browser, page: Path):
    browser.get_log("browser")
    browser.get(page.as_uri())
    return browser


def problems(browser) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not _holds(condition):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def _holds(condition: Callable[[], Any]) -> bool:
    try:
        return bool(condition())
    except StaleElementReferenceException:  # it was drawn anew meanwhile
        return False


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", ""))


def data(browser, element: str) -> dict[str, Any]:
    return browser.execute_script("return JSON.parse(document.getElementById(arguments[0]).textContent)", element)


def note_the_time(browser) -> None:
    """Keep the furthest moment of all sounds played since: a short one may be over when it is looked at."""
    browser.execute_script("""
        const audio = document.getElementById('player');
        window.played = [];
        audio.addEventListener('playing', () => window.played.push(audio.src));
        window.furthest = 0;
        audio.addEventListener('timeupdate', () => { window.furthest = Math.max(window.furthest, audio.currentTime); });
    """)


def furthest(browser) -> float:
    return float(browser.execute_script("return window.furthest"))


@pytest.fixture(params=["report", "gallery"])
def page(request):
    return request.getfixturevalue(request.param)


class TestBothPages:
    def test_everything_that_can_be_pressed_has_a_name(self, page):
        for element in page.find_elements(By.CSS_SELECTOR, "button, select, a, summary"):
            assert element.accessible_name

    @pytest.mark.parametrize("width", [320, 390, 1280])
    def test_it_fits_any_width(self, page, width):
        page.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        )
        try:
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
        finally:
            page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


class TestReport:
    def test_it_is_usable_within_a_second(self, report):
        # The best of a few: the machine may be busy with something else.
        seconds = []
        for _ in range(5):
            report.refresh()
            seconds.append(report.execute_script("return performance.getEntriesByType('navigation')[0].domInteractive") / 1000)
        assert min(seconds) < 1

    def test_a_hostile_name_is_shown_as_text(self, report):
        assert report.find_element(By.TAG_NAME, "h1").text.endswith(".wav")
        assert "<img src=x onerror=alert(1)>" in report.find_element(By.TAG_NAME, "body").text
        assert report.execute_script("return document.querySelectorAll('img[src=x]').length") == 0

    def test_a_click_plays_the_segment_and_then_the_prototype(self, report):
        note_the_time(report)
        report.find_elements(By.CSS_SELECTOR, ".cell")[2].click()
        wait_for(lambda: len(set(report.execute_script("return window.played"))) == 2, "the second sound")
        # The third segment begins at 0.8 s of the track.
        assert furthest(report) > 0.8
        wait_for(lambda: report.execute_script("return document.getElementById('player').paused"), "the end")

    def test_a_segment_stops_at_its_end(self, report):
        note_the_time(report)
        report.find_elements(By.CSS_SELECTOR, "[data-role=segment] .sound")[0].click()
        wait_for(lambda: furthest(report) > 0, "the start")
        wait_for(lambda: report.execute_script("return document.getElementById('player').paused"), "the end")
        assert furthest(report) < 1.5

    def test_escape_stops(self, report):
        report.find_elements(By.CSS_SELECTOR, ".cell")[0].click()
        report.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
        assert report.execute_script("return document.getElementById('player').paused")

    def test_the_keyboard_moves_and_plays(self, report):
        cells = report.find_elements(By.CSS_SELECTOR, ".cell")
        report.execute_script("arguments[0].focus()", cells[0])
        note_the_time(report)
        for key, expected in (
            (Keys.ARROW_RIGHT, 1),
            (Keys.ARROW_RIGHT, 2),
            (Keys.END, 4),
            (Keys.ARROW_LEFT, 3),
            (Keys.HOME, 0),
        ):
            report.switch_to.active_element.send_keys(key)
            assert cells[expected].get_attribute("aria-current") == "true"
            assert report.switch_to.active_element == cells[expected]
            assert report.find_element(By.CSS_SELECTOR, "#segment h2").text.startswith(f"Segment {expected + 1} ")
        assert report.execute_script("return window.played.length") == 0
        report.switch_to.active_element.send_keys(Keys.ENTER)
        wait_for(lambda: report.execute_script("return window.played.length"), "the sound")

    def test_one_segment_is_in_the_tab_order(self, report):
        assert len(report.find_elements(By.CSS_SELECTOR, ".cell[tabindex='0']")) == 1

    def test_silence_and_padding_are_named(self, report):
        names = [cell.accessible_name for cell in report.find_elements(By.CSS_SELECTOR, ".cell")]
        assert "silent, no evidence" in names[1]
        assert re.search(r"31 % of it is padding", names[4])
        report.find_elements(By.CSS_SELECTOR, ".cell")[1].click()
        assert "nothing to go by" in report.find_element(By.ID, "segment").text

    @pytest.mark.parametrize("table", ["decision", "contrast"])
    def test_columns_add_up_as_they_are_read(self, report, table):
        for _ in range(2):
            cells = [number(cell.text) for cell in report.find_elements(By.CSS_SELECTOR, f"#{table} td.figure")]
            assert sum(cells[:-1]) == pytest.approx(cells[-1], abs=1e-9)
            report.find_element(By.ID, "swap").click()

    @pytest.mark.parametrize("table", ["decision", "contrast"])
    def test_reasons_are_told_beside_what_is_usual_where_that_is_known(self, browser, calibrated_page, table):
        page = opened(browser, calibrated_page)
        rows = page.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")
        assert rows[-2].find_element(By.TAG_NAME, "th").text == "what is usual"
        cells = [number(row.find_element(By.CSS_SELECTOR, "td.figure").text) for row in rows]
        assert sum(cells[:-1]) == pytest.approx(cells[-1], abs=1e-9)
        track = data(page, "track-0")
        explanation = track["explanation"]
        first, second = (explanation["labels"].index(explanation[which]) for which in ("label", "runner_up"))
        expected = explanation["baseline"][first] - (explanation["baseline"][second] if table == "contrast" else 0)
        assert cells[-2] == pytest.approx(expected, abs=0.003)
        assert f"It is right with a probability of {track['probability']:.2f}" in page.find_element(By.CLASS_NAME, "lede").text
        assert "a lead of 0.1 makes one score 2.7 times the other" in page.find_element(By.ID, "temperature").text
        assert problems(page) == []

    def test_a_counterfactual_is_heard_step_by_step(self, browser, calibrated_page):
        page = opened(browser, calibrated_page)
        walk = data(page, "track-0")["counterfactual"]
        assert page.find_element(By.CSS_SELECTOR, "#counterfactual h2").text == f"What would make it {walk['rival']}"
        buttons = page.find_elements(By.CSS_SELECTOR, "#counterfactual button.sound")
        assert len(buttons) == 5
        captions = [caption.text for caption in page.find_elements(By.CSS_SELECTOR, "#counterfactual figcaption")]
        assert captions[0].startswith(f"0 %: {walk['label']} {walk['scores'][0][walk['label']]:.2f}")
        assert captions[4].endswith(f"heard as {walk['heard_as'][4]}")
        note_the_time(page)
        buttons[4].click()
        wait_for(lambda: furthest(page) > 0.1, "sound")
        assert problems(page) == []

    def test_numbers_are_those_of_the_json(self, report):
        track = data(report, "track-0")
        explanation = track["explanation"]
        first, second = explanation["label"], explanation["runner_up"]
        logits = dict(zip(explanation["labels"], explanation["logits"], strict=True))
        shown = report.find_elements(By.CSS_SELECTOR, "#decision .sum td.figure")[0].text
        assert number(shown) == pytest.approx(logits[first], abs=0.0006)
        shown = report.find_elements(By.CSS_SELECTOR, "#contrast .sum td.figure")[0].text
        assert number(shown) == pytest.approx(logits[first] - logits[second], abs=0.0006)
        assert number(report.find_element(By.ID, "score").text) == pytest.approx(track["score"], abs=0.0051)
        assert report.find_element(By.ID, "label").text == first
        for row in report.find_elements(By.CSS_SELECTOR, "#classes tbody tr"):
            label = row.find_element(By.TAG_NAME, "th").text
            score, logit, _ = (cell.text for cell in row.find_elements(By.TAG_NAME, "td"))
            assert number(score) == pytest.approx(track["scores"][label], abs=0.0006)
            assert number(logit) == pytest.approx(logits[label], abs=0.0006)

    def test_a_contribution_is_similarity_times_weight(self, report):
        explanation = data(report, "track-0")["explanation"]
        target = explanation["labels"].index(explanation["label"])
        for row in report.find_elements(By.CSS_SELECTOR, "#segment .ledger tbody tr:not(.rest):not(.sum)"):
            label, prototype = row.find_element(By.TAG_NAME, "th").text.rsplit(" ", 1)
            m = explanation["labels"].index(label) * 2 + int(prototype)
            expected = explanation["segment_similarities"][0][m] * explanation["weight"][target][m]
            assert number(row.find_element(By.CSS_SELECTOR, "td.figure").text) == pytest.approx(expected, abs=0.002)

    def test_the_nearest_training_segment_is_named(self, report):
        track, page = data(report, "track-0"), data(report, "page")
        nearest = page["nearest"][str(track["winners"][0])][0]
        text = report.find_element(By.ID, "segment").text
        assert nearest["track"] in text
        assert f"distance {nearest['distance']:.3f}" in text

    def test_a_segment_that_is_not_of_the_class_of_its_closest_prototype_says_so(self, report):
        track = data(report, "track-0")
        explanation, winner = track["explanation"], track["winners"][0] // 2
        assert not report.find_elements(By.ID, "outvoted")
        other = (winner + 1) % len(explanation["labels"])
        report.execute_script(
            """
            const [element, other] = [document.getElementById('track-0'), arguments[0]];
            const track = JSON.parse(element.textContent);
            track.explanation.bias[other] += 100;
            element.textContent = JSON.stringify(track);
            document.querySelector('[data-track="0"]').click();
            """,
            other,
        )
        given = np.multiply(explanation["segment_similarities"][0], explanation["weight"][other])
        name = f"{explanation['labels'][given.argmax() // 2]} {given.argmax() % 2}"
        text = report.find_element(By.ID, "outvoted").text
        assert text.startswith(
            f"By all prototypes together it is {explanation['labels'][other]}, to which most comes from {name}"
        )
        assert number(text.rsplit(" ", 1)[1].rstrip(".")) == pytest.approx(given.max(), abs=0.0006)
        label = explanation["labels"].index(track["label"])
        heard = [m // 2 for m, segment in zip(track["winners"], track["segments"], strict=True) if not segment["silent"]]
        alone = len(heard) if label == other else 0
        said = f"By all prototypes together {alone} " in report.find_element(By.CLASS_NAME, "lede").text
        assert said is (alone != heard.count(label))

    def test_another_track_can_be_chosen(self, report):
        report.find_elements(By.CSS_SELECTOR, "[data-track]")[1].click()
        assert report.find_element(By.TAG_NAME, "h1").text == "second.wav"

    def test_dark_and_light_differ(self, report):
        colours = set()
        for scheme in ("dark", "light"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            colours.add(report.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
        assert len(colours) == 2


class TestGallery:
    def test_a_click_starts_a_sound_and_time_advances(self, gallery):
        note_the_time(gallery)
        gallery.find_element(By.CSS_SELECTOR, ".card .sound").click()
        wait_for(lambda: furthest(gallery) > 0, "time")
        assert furthest(gallery) > 0

    def test_every_seed_can_be_heard_by_keyboard(self, gallery):
        note_the_time(gallery)
        buttons = gallery.find_elements(By.CSS_SELECTOR, "#prototype-3 .seeds button")
        assert len(buttons) == 2
        for count, button in enumerate(buttons, 1):
            button.send_keys(Keys.ENTER)
            wait_for(lambda count=count: gallery.execute_script("return new Set(window.played).size") == count, "the sound")

    def test_numbers_are_those_of_the_json(self, gallery):
        page = data(gallery, "page")
        for view in page["prototypes"]:
            card = gallery.find_element(By.ID, f"prototype-{view['index']}")
            assert card.find_element(By.CSS_SELECTOR, "[data-field=survived]").text == f"{view['survived']} of 2"
            assert card.find_element(By.CSS_SELECTOR, "[data-field=wins]").text.startswith(f"{view['wins']} ")
        assert gallery.find_element(By.ID, "survival").text == f"{100 * page['survival']:.0f} %"
