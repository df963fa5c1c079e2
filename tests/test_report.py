import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pecmae import PECMAE, PecmaeError
from pecmae.audio.compression import compressed
from pecmae.cli.app import main
from pecmae.errors import AudioWarning, CheckpointError, ConfigError
from pecmae.explain.media import outline, png, spectrogram
from pecmae.explain.pages import script_json
from pecmae.explain.report import Report, build_report, describe_track, prototypes_to_hear
from pecmae.explain.sounds import PrototypeSounds
from pecmae.hub.resolve import COMPANION_FILE
from pecmae.prototypes.neighbours import Neighbours, describe_neighbours

RATE = 24_000
HOSTILE = "<img src=x onerror=alert(1)> & '\"${7*7}.wav"


@pytest.fixture
def song(tmp_path, tone):
    """Three tiny segments, the second of them silent, the third half padding; named to do harm."""
    samples = tone[: 2 * 9600 + 4800].copy()
    samples[9600:19200] = 0
    soundfile.write(tmp_path / HOSTILE, samples, RATE)
    return tmp_path / HOSTILE


@pytest.fixture
def report(tiny_model, song, tmp_path) -> Report:
    sounds = PrototypeSounds(tiny_model, tmp_path / "cache")
    return build_report(tiny_model, [describe_track(tiny_model, song)], name="tiny", sounds=sounds)


def embedded_json(html: str, element: str):
    found = re.search(rf'<script type="application/json" id="{element}">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


class TestExplanation:
    def test_explaining_changes_no_bit_of_a_prediction(self, tiny_model, song, tmp_path):
        before = tiny_model.predict(song)
        describe_track(tiny_model, song)
        PrototypeSounds(tiny_model, tmp_path / "cache").get(0)
        after = tiny_model.predict(song)
        explained = tiny_model.explain(song)
        for name in ("logits", "segment_logits", "segment_similarities"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        np.testing.assert_array_equal(explained.logits, before.logits)
        np.testing.assert_array_equal(explained.segment_similarities, before.segment_similarities)

    def test_a_contrast_sums_to_the_difference_of_the_logits(self, tiny_model, tone):
        explanation = tiny_model.explain(tone, sampling_rate=RATE)
        contrast = explanation.contrast("jazz", "rock")
        difference = explanation.logits[1] - explanation.logits[2]
        assert contrast.total == pytest.approx(difference, abs=1e-6)
        assert contrast.prototypes.sum() + contrast.bias == pytest.approx(difference, abs=1e-5)
        assert np.average(contrast.segments, weights=explanation.weights) == pytest.approx(difference, abs=1e-5)
        segment_logits = tiny_model.predict(tone, sampling_rate=RATE).segment_logits
        np.testing.assert_allclose(contrast.segments, segment_logits[:, 1] - segment_logits[:, 2], atol=1e-5)
        json.dumps(contrast.to_dict())

    def test_a_contrast_the_other_way_round_is_its_negative(self, tiny_model, tone):
        explanation = tiny_model.explain(tone, sampling_rate=RATE)
        one, other = explanation.contrast("jazz", "rock"), explanation.contrast("rock", "jazz")
        np.testing.assert_allclose(one.prototypes, -other.prototypes)
        np.testing.assert_allclose(one.segments, -other.segments)
        label, number, value = one.top(1)[0]
        assert value == pytest.approx(one.prototypes.max())
        assert one.names[int(one.prototypes.argmax())] == (label, number)
        assert one.top_segments(1)[0] == (int(one.segments.argmax()), pytest.approx(one.segments.max()))

    def test_an_unknown_class_is_answered_with_the_known_ones(self, tiny_model, tone):
        explanation = tiny_model.explain(tone, sampling_rate=RATE)
        with pytest.raises(ValueError, match="'polka' is not a class of this model; choose from blues, jazz, rock"):
            explanation.contrast("polka", "rock")

    def test_the_dictionary_is_enough_to_compute_the_logits_again(self, tiny_model, tone):
        values = json.loads(json.dumps(tiny_model.explain(tone, sampling_rate=RATE).to_dict()))
        similarities = np.array(values["segment_similarities"])
        logits = similarities @ np.array(values["weight"]).T + values["bias"]
        logits = np.average(logits, 0, values["segment_weights"])
        np.testing.assert_allclose(logits, values["logits"], atol=1e-5)
        order = np.argsort(-np.array(values["logits"]))
        assert [values["label"], values["runner_up"]] == [values["labels"][index] for index in order[:2]]

    def test_a_plot_shows_numbers_that_sum_to_the_logit(self, tiny_model, tone):
        pytest.importorskip("matplotlib")
        explanation = tiny_model.explain(tone, sampling_rate=RATE)
        figure = explanation.plot("jazz", count=3)
        bars = figure.axes[1].containers[0]
        assert len(bars) == 5  # three prototypes, the others, the bias
        assert sum(bar.get_width() for bar in bars) == pytest.approx(explanation.logits[1], abs=1e-5)

    def test_a_plot_without_matplotlib_says_what_to_install(self, tiny_model, tone, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
        with pytest.raises(PecmaeError, match=r"pecmae\[plot\]"):
            tiny_model.explain(tone, sampling_rate=RATE).plot()


class TestPictures:
    def test_a_tone_is_darkest_in_one_row(self):
        t = np.arange(RATE) / RATE
        shades = spectrogram(np.sin(2 * np.pi * 3000 * t).astype(np.float32), RATE)
        rows = shades.mean(1)
        assert shades.shape == (64, 160)
        assert rows.max() == pytest.approx(15, abs=1)
        assert (rows > 5).sum() < 12

    def test_low_sounds_are_at_the_bottom(self):
        t = np.arange(RATE) / RATE
        low, high = (spectrogram(np.sin(2 * np.pi * f * t).astype(np.float32), RATE).mean(1).argmax() for f in (200, 6000))
        assert low > high

    def test_silence_is_blank(self):
        assert not spectrogram(np.zeros(RATE, np.float32), RATE).any()

    def test_a_png_holds_the_shades(self, tmp_path):
        image = pytest.importorskip("matplotlib.image")
        shades = np.arange(15, dtype=np.uint8).reshape(3, 5)
        (tmp_path / "a.png").write_bytes(png(shades))
        opacity = image.imread(tmp_path / "a.png")[..., 3]
        np.testing.assert_allclose(opacity, shades / 15, atol=0.003)

    @pytest.mark.parametrize("length", [1, 39, 40, 9600])
    def test_an_outline_has_as_many_points_whatever_the_length(self, length):
        values = outline(np.full(length, -0.5, np.float32))
        assert len(values) == 40
        assert max(values) == 500


class TestReport:
    def test_numbers_are_those_of_the_python_interface(self, report, tiny_model, song):
        html = report.to_html()
        track = embedded_json(html, "track-0")
        assert track["explanation"] == tiny_model.explain(song).to_dict()
        prediction = tiny_model.predict(song)
        assert track["label"] == prediction.label
        assert track["scores"] == pytest.approx(prediction.scores, abs=1e-6)
        assert track["duration"] == pytest.approx(prediction.duration)

    def test_silence_and_padding_are_told(self, report):
        segments = report.tracks[0].segments
        assert [segment.silent for segment in segments] == [False, True, False]
        assert [segment.seconds for segment in segments] == pytest.approx([0.4, 0.4, 0.2])
        assert [segment.start for segment in segments] == pytest.approx([0, 0.4, 0.8])

    def test_a_warning_is_given_once(self, tiny_model, tmp_path):
        soundfile.write(tmp_path / "silent.wav", np.zeros(9600), RATE)
        with pytest.warns(AudioWarning, match="is silent") as caught:
            track = describe_track(tiny_model, tmp_path / "silent.wav")
        assert len(caught) == 1
        assert track.segments[0].silent

    def test_a_hostile_name_is_text(self, report):
        html = report.to_html()
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html
        assert embedded_json(html, "track-0")["name"].endswith(HOSTILE)

    def test_a_page_needs_nothing_else(self, report):
        html = report.to_html()
        assert not re.search(r"""(?:src|href)=["']?(?:https?:|//)""", html)
        assert "default-src &#39;none&#39;" in html

    def test_the_sounds_are_the_tracks_and_the_prototypes(self, report, tiny_model, tmp_path):
        import base64
        import io

        def decoded(sound):
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound["data"])), dtype="float32")
            assert rate == RATE
            return samples

        assert len(decoded(report.tracks[0].sound)) >= 24_000
        assert set(report.sounds) == set(report.pictures) == set(prototypes_to_hear(report.tracks[0]))

    def test_no_more_prototypes_are_sonified_than_asked_for(self, report):
        track = report.tracks[0]
        assert len(prototypes_to_hear(track, 2)) == 2
        assert prototypes_to_hear(track, 0) == []
        assert prototypes_to_hear(track, 1)[0] in track.explanation.winners[[0, 2]]

    def test_what_is_not_stored_is_null(self, report):
        assert embedded_json(report.to_html(), "page")["nearest"] is None


def test_json_in_a_page_cannot_end_its_element():
    text = script_json({"a": "</script><!--<script>&\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>&\u2028"}


def test_compression_keeps_the_sound(tone):
    import base64
    import io

    samples, _ = soundfile.read(io.BytesIO(base64.b64decode(compressed(tone, RATE)["data"])), dtype="float32")
    # MP3 adds silence of its own at both ends.
    assert 0 <= len(samples) - len(tone) < 4000
    lag = int(np.argmax(np.correlate(samples[:8000], tone[:4000], "valid")))
    part = samples[lag : lag + 20_000]
    assert np.corrcoef(part, tone[:20_000])[0, 1] > 0.98


# Linear RGB as people without green or red cones see it (Machado, Oliveira and Fernandes, 2009, severity 1).
SIGHT = {
    "full": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def lab(colours: list[str], sight: str) -> np.ndarray:
    """CIELAB of #rrggbb colours, as seen."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = seen @ to_xyz.T / [0.9505, 1, 1.089]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_class_colours_differ_for_the_colour_blind(scheme, sight):
    style = (files("pecmae") / "pages" / "common.css").read_text(encoding="utf-8")
    colours = re.findall(r"--class-\d: (#\w{6})", style)
    points = lab(colours[:10] if scheme == "light" else colours[10:], sight)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    assert distances[np.triu_indices(10, 1)].min() > 20


class TestPrototypeSounds:
    def test_a_sound_is_made_once(self, tiny_model, tmp_path, monkeypatch):
        first = PrototypeSounds(tiny_model, tmp_path).get(3, seed=1)
        monkeypatch.setattr(PECMAE, "sonify_each", None)
        np.testing.assert_array_equal(PrototypeSounds(tiny_model, tmp_path).get(3, seed=1), first)

    def test_it_is_what_the_model_sonifies(self, tiny_model, tmp_path):
        sound = PrototypeSounds(tiny_model, tmp_path).get(3, seed=1)
        expected = tiny_model.sonify("jazz", prototype=1, seed=1)[0]
        np.testing.assert_allclose(sound, expected, atol=1 / 32768)

    def test_other_settings_are_other_sounds(self, tiny_model, tmp_path):
        folders = {PrototypeSounds(tiny_model, tmp_path, num_inference_steps=steps).folder for steps in (None, 2, 3)}
        assert len(folders) == 3

    def test_a_damaged_file_is_made_again(self, tiny_model, tmp_path):
        sounds = PrototypeSounds(tiny_model, tmp_path)
        expected = sounds.get(0)
        sounds.path(0, 0).write_bytes(b"fLaC")
        np.testing.assert_array_equal(sounds.get(0), expected)

    def test_progress_counts_what_was_there_already(self, tiny_model, tmp_path):
        sounds, steps = PrototypeSounds(tiny_model, tmp_path), []
        sounds.make([(0, 0)])
        sounds.make([(0, 0), (1, 0), (0, 1)], lambda: steps.append(1))
        assert len(steps) == 3


@pytest.fixture
def neighbours(tiny_model, tone) -> Neighbours:
    return tiny_neighbours(tiny_model, tone)


def tiny_neighbours(model, tone) -> Neighbours:
    import torch

    z = torch.from_numpy(np.concatenate([model.embed(tone * gain, sampling_rate=RATE) for gain in (1, 0.5, 0.1)]))
    tracks = torch.arange(3).repeat_interleave(3)
    names = ["a.wav", "</script><b>.wav", "c.wav"]
    return describe_neighbours(model.head, z, tracks, names, torch.tensor([0, 1, 2]), segment_seconds=0.4, nearest=4, sample=5)


class TestCompanion:
    def test_the_nearest_segments_are_the_nearest_of_each_track(self, neighbours, tiny_model, tone):
        import torch

        z = torch.from_numpy(np.concatenate([tiny_model.embed(tone * gain, sampling_rate=RATE) for gain in (1, 0.5, 0.1)]))
        distances = tiny_model.head.distances(z).detach().numpy()
        for prototype in range(6):
            found = neighbours.nearest(prototype)
            expected = np.sort(distances[:, prototype].reshape(3, 3).min(1))
            np.testing.assert_allclose([item["distance"] for item in found], expected, rtol=1e-5)
            row = int(distances[:, prototype].argmin())
            assert found[0]["label"] == row // 3
            assert found[0]["offset"] == pytest.approx(0.4 * (row % 3))

    def test_wins_are_counted_over_all_segments(self, neighbours):
        assert neighbours.wins.sum() == neighbours.num_segments == 9

    def test_it_travels_with_the_model(self, neighbours, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path / "model")
        assert Neighbours.load(tmp_path / "model") is None
        neighbours.save(tmp_path / "model")
        loaded = Neighbours.load(tmp_path / "model")
        assert loaded is not None
        assert loaded.nearest(2) == neighbours.nearest(2)
        np.testing.assert_array_equal(loaded.sample_z, neighbours.sample_z)
        assert (loaded.num_segments, loaded.sample_z.shape) == (9, (5, 16))

    def test_it_is_refused_beside_other_weights(self, neighbours, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path / "model")
        neighbours.save(tmp_path / "model")
        path = tmp_path / "model" / "config.json"
        path.write_text(path.read_text().replace('"model.safetensors": "', '"model.safetensors": "0'))
        with pytest.raises(CheckpointError, match="describes other weights"):
            Neighbours.load(tmp_path / "model")

    def test_damage_is_told(self, neighbours, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path / "model")
        (tmp_path / "model" / COMPANION_FILE).write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match="cannot be read"):
            Neighbours.load(tmp_path / "model")

    def test_parts_that_do_not_belong_together(self, tiny_model):
        import torch

        with pytest.raises(ConfigError, match="2 embeddings, 1 track numbers"):
            describe_neighbours(
                tiny_model.head,
                torch.zeros(2, 16),
                torch.zeros(1, dtype=torch.int64),
                ["a"],
                torch.zeros(1),
                segment_seconds=0.4,
            )


class TestConsole:
    def run(self, capsys, *arguments):
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        return int(exit_info.value.code or 0), capsys.readouterr().err

    def test_a_page_for_all_and_the_broken_one_named(self, capsys, tiny_model_dir, song, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("broken.mp3").write_text("not music")
        options = ["--model", tiny_model_dir, "--cache", "cache", "--sounds", 2]
        status, err = self.run(capsys, "explain", song.name, "broken.mp3", "absent.wav", *options, "--output", "page.html")
        assert status == 1
        assert "wrote page.html" in err
        assert "2 of 3 failed" in err
        html = Path("page.html").read_text()
        assert embedded_json(html, "track-0")["name"] == HOSTILE
        assert html.count('id="track-') == 1
        assert "absent.wav: no such file" in html
        assert "broken.mp3" in html

    def test_a_large_page_is_announced(self, capsys, tiny_model_dir, song, tmp_path, monkeypatch):
        monkeypatch.setattr("pecmae.cli.pages.LARGE_PAGE", 1000)
        options = ["--model", tiny_model_dir, "--cache", tmp_path, "--output", tmp_path / "page.html", "--sounds", 0]
        status, err = self.run(capsys, "explain", song, *options)
        assert status == 0
        assert "MB; browsers open it slowly" in err

    def test_no_page_without_a_track(self, capsys, tiny_model_dir, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        status, err = self.run(capsys, "explain", "absent.wav", "--model", tiny_model_dir)
        assert (status, Path("report.html").exists()) == (1, False)
        assert "absent.wav" in err

    @pytest.mark.parametrize("command", ["explain", "gallery"])
    def test_help_imports_nothing_heavy(self, command):
        code = (
            "import atexit, sys; from pecmae.cli import main;"
            "heavy = {'torch', 'numpy', 'jinja2', 'soundfile', 'matplotlib'};"
            "atexit.register(lambda: print('imported:', *(heavy & set(sys.modules))));"
            "main()"
        )
        result = subprocess.run([sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, check=False)
        assert f"Usage: pecmae {command}" in result.stdout
        assert result.stdout.splitlines()[-1] == "imported:"

    @pytest.mark.parametrize("output", ["no/such/folder/a.html", "."])
    @pytest.mark.parametrize("command", [["explain", "a.wav"], ["gallery"]])
    def test_a_page_that_cannot_be_written_is_refused_first(self, capsys, command, output):
        assert self.run(capsys, *command, "--output", output)[0] == 2
