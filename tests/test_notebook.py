"""What answers show of themselves in a notebook and in a terminal."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from pecmae import PECMAE, Explanation, Prediction
from pecmae.audio.players import Player
from pecmae.evaluation import Evaluation
from pecmae.prototypes.notebook import colour, part_bars, timeline

RATE = 24_000


@pytest.fixture
def prediction(tiny_model: PECMAE, tone: np.ndarray) -> Prediction:
    return tiny_model.predict(tone, sampling_rate=RATE)


@pytest.fixture
def explanation(tiny_model: PECMAE, tone: np.ndarray) -> Explanation:
    return tiny_model.explain(tone, sampling_rate=RATE)


def test_a_plain_print_has_two_lines(tiny_model, prediction, explanation):
    for shown in (tiny_model, prediction, explanation):
        assert len(repr(shown).splitlines()) == 2
    assert repr(prediction).startswith(f"Prediction: {prediction.label} {prediction.score:.2f}")
    assert repr(tiny_model).endswith("blues, jazz, rock")


def test_a_player_holds_the_sound_and_its_name_as_text():
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    shown = Player("<b> & co", wave, RATE)._repr_html_()
    assert "&lt;b&gt; &amp; co" in shown
    data = re.search(r"base64,([^\"]+)", shown)
    assert data is not None
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data[1])))
    assert rate == RATE
    assert np.abs(np.fft.rfft(samples[:RATE])).argmax() == pytest.approx(440, abs=2)


def test_listening_gives_a_player_for_each_prototype(tiny_model):
    found = tiny_model.listen("jazz", seed=3)
    assert [player.title for player in found] == ["jazz 0", "jazz 1"]
    np.testing.assert_array_equal(np.stack([player.samples for player in found]), tiny_model.sonify("jazz", seed=3))
    assert found._repr_html_().count("<audio") == 2


def test_an_explanation_shows_its_timeline_its_parts_and_what_decided_as_sound(explanation, tone):
    shown = explanation._repr_html_()
    assert shown.count("<audio") >= 4  # three prototypes, and the segments nearest to them
    assert explanation.listen is not None
    heard = {player.title: player for player in explanation.listen()}
    (name, number, value) = explanation.top(count=1)[0]
    assert f"{name} {number} ({value:+.2f})" in heard
    segments = [player for title, player in heard.items() if title.startswith("segment 1")]
    for player in segments:
        np.testing.assert_allclose(player.samples[:9600], tone[:9600], atol=1e-3)


def test_a_timeline_has_a_piece_for_each_segment_in_its_class_s_colour():
    shown = timeline(np.array([1, 1, 0]), ("blues", "<jazz>"))
    assert shown.count("display:inline-block") == 3
    assert shown.count(f"background:{colour(1)}") == 2
    assert "&lt;jazz&gt;" in shown
    assert "<jazz>" not in shown


def test_the_bars_of_parts_are_as_long_as_the_parts_are_large():
    shown = part_bars([("jazz 0", 2.0, 1), ("rest", -1.0, None)])
    assert re.findall(r"width:([0-9.]+)em\"></span> (-?[0-9.]+)", shown) == [("10.00", "2.00"), ("5.00", "-1.00")]


def test_tables_for_pandas(prediction, explanation):
    pytest.importorskip("pandas")
    segments = prediction.to_pandas()
    assert len(segments) == prediction.num_segments
    best = prediction.label
    np.testing.assert_allclose(
        np.average(segments[best], weights=prediction.segment_weights), prediction.logits.max(), rtol=1e-4
    )
    prototypes = explanation.to_pandas()
    np.testing.assert_allclose(prototypes[f"to {explanation.label}"].sum() + explanation.bias[explanation.logits.argmax()],
                               explanation.logits.max(), rtol=1e-4)  # fmt: skip
    evaluation = Evaluation(("a", "b"), ("x", "y"), np.array([0, 1]), np.array([0, 0]), np.array([0.9, 0.6]), {})
    assert evaluation.to_pandas().to_dict("list") == {
        "track": ["x", "y"], "true": ["a", "b"], "predicted": ["a", "a"], "score": [0.9, 0.6]
    }  # fmt: skip
    assert "least recalled: b 0.00" in repr(evaluation)
    assert evaluation._repr_html_().count("<tr>") == 2
