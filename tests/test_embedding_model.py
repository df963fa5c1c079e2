"""Prototypes over embeddings of other models: the same head, the same answers, no decoder."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pecmae import PECMAE, ConfigError, EmbeddingModel, PecmaeError, fit_embeddings
from pecmae.explain.report import explain_tracks
from pecmae.hub.publish import push_directory
from pecmae.interop import CallableEncoder, embed_collection
from pecmae.interop.embeddings import EMBEDDING_SETTINGS, embedded_tracks
from pecmae.prototypes.neighbours import Neighbours

pytest_plugins = "fake_hub"
QUICK = replace(EMBEDDING_SETTINGS, steps=40, batch_size=32)
CLASSES = ("blues", "jazz", "rock")
RATE = 8000


def labelled(seed: int = 0, tracks: int = 60, width: int = 24) -> tuple[np.ndarray, list[str], list[str]]:
    """Two segments of each track, around a place of its class."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(tracks) % 3
    places = np.eye(3, width) * 4
    z = (places[numbers].repeat(2, 0) + rng.normal(0, 0.5, (2 * tracks, width))).astype(np.float32)
    names = [f"{seed}-{track}" for track in range(tracks) for _ in range(2)]
    return z, [CLASSES[number] for number in numbers.repeat(2)], names


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    z, labels, tracks = labelled(tracks=150)
    return fit_embeddings(z, labels, tracks=tracks, prototypes_per_class=2, settings=QUICK)


def test_embeddings_of_new_tracks_are_told(model):
    z, labels, tracks = labelled(seed=1)
    found = model.evaluate(z, labels, tracks=tracks)
    assert len(found.true) == 60
    assert found.accuracy == 1
    prediction = model.classify(z[2:4])
    assert prediction.label == "jazz"
    assert prediction.num_segments == 2
    explanation = model.explain_embedded(z[2:4])
    assert explanation.label == "jazz"
    assert {name for name, _, _ in explanation.top(count=2)} == {"jazz"}


def test_tracks_that_are_held_out_calibrate(model):
    assert model.calibration is not None
    assert model.calibration.num_tracks >= 20
    z, _, _ = labelled(seed=2)
    assert 0.5 < model.classify(z[:2]).probability <= 1
    assert model.classify(z[:2]).known
    assert not model.classify(z[:2] + 30).known


def test_what_is_in_test_is_not_touched():
    z, labels, tracks = labelled()
    splits = ["test" if int(name.split("-")[1]) % 4 == 3 else "train" for name in tracks]
    options = {"tracks": tracks, "splits": splits, "prototypes_per_class": 2, "settings": QUICK}
    one = fit_embeddings(z, labels, **options)
    moved = z.copy()
    moved[[split == "test" for split in splits]] = 99.0
    other = fit_embeddings(moved, labels, **options)
    assert torch.equal(one.head.prototypes, other.head.prototypes)
    moved[0] += 0.5  # of a training track
    assert not torch.equal(one.head.prototypes, fit_embeddings(moved, labels, **options).head.prototypes)


def test_the_order_of_rows_does_not_tear_tracks_apart():
    z, labels, tracks = labelled()
    order = np.random.default_rng(0).permutation(len(z))
    found = embedded_tracks(z[order], [labels[row] for row in order], CLASSES, tracks=[tracks[row] for row in order])
    assert (found.tracks.diff() >= 0).all()
    for number, name in enumerate(found.names):
        rows = [row for row in order if tracks[row] == name]
        assert torch.equal(found.z[found.tracks == number], torch.from_numpy(z[rows]))


def test_a_saved_model_is_the_same_and_says_what_it_is(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    loaded = EmbeddingModel.from_pretrained(tmp_path / "saved", device="cpu")
    z, _, _ = labelled(seed=3)
    assert np.array_equal(loaded.classify(z[:2]).logits, model.classify(z[:2]).logits)
    assert loaded.classify(z[:2]).probability == model.classify(z[:2]).probability
    assert loaded.neighbours.nearest(0) == model.neighbours.nearest(0)
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "EmbeddingModel.from_pretrained" in card
    assert "sonify" not in card
    with pytest.raises(ConfigError, match=r"EmbeddingModel\.from_pretrained"):
        PECMAE.from_pretrained(tmp_path / "saved")


def test_a_model_with_an_autoencoder_is_no_embedding_model(tiny_model_dir):
    with pytest.raises(ConfigError, match=r"PECMAE\.from_pretrained"):
        EmbeddingModel.from_pretrained(tiny_model_dir)


def test_what_needs_an_encoder_or_a_decoder_says_so(model):
    with pytest.raises(ConfigError, match="load it with encoder"):
        model.predict(np.zeros(RATE, np.float32), sampling_rate=RATE)
    with pytest.raises(PecmaeError, match="no decoder"):
        model.sonify("jazz")
    with pytest.raises(PecmaeError, match="no decoder"):
        model.listen("jazz")
    with pytest.raises(ValueError, match="24 values"):
        model.classify(np.zeros((2, 5), np.float32))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"z": np.zeros((4, 24, 1))}, "one row a segment"),
        ({"labels": ["jazz"] * 3}, "3 labels for 120"),
        ({"tracks": ["a"] * 120}, "different labels"),
        ({"labels": ["jazz"] * 120}, "one class alone"),
        ({"splits": ["train"] * 119}, "119 splits"),
        ({"splits": ["exam"] * 120}, "'exam' is none"),
        ({"splits": ["test"] * 120}, "no track is in 'train'"),
        ({"splits": ["train", "test"] * 60}, "give each track one split"),
        ({"audio": ["a.wav"] * 120}, "segment_seconds"),
        ({"prototypes_per_class": 500}, "fewer than its 500 prototypes"),
        ({"encoder": 3, "sampling_rate": 8000, "segment_seconds": 1.0}, "cannot be called"),
        ({"encoder": len, "sampling_rate": 8000}, "segment_seconds"),
    ],
)
def test_what_does_not_fit_is_one_sentence(change, text):
    z, labels, tracks = labelled()
    given = {"z": z, "labels": labels, "tracks": tracks, "settings": QUICK, **change}
    with pytest.raises(ConfigError, match=text):
        fit_embeddings(given.pop("z"), given.pop("labels"), **given)


def test_a_value_that_is_none_is_named_by_its_row():
    z, labels, _ = labelled()
    z[7, 3] = np.nan
    with pytest.raises(ConfigError, match="row 7"):
        fit_embeddings(z, labels, settings=QUICK)


def test_a_misspelt_option_is_refused():
    z, labels, _ = labelled()
    with pytest.raises(TypeError, match="prototypes_per_class"):
        fit_embeddings(z, labels, prototype_per_class=3)


class Bands:
    """Energy of a sound's changes in twelve pieces, in nepers."""

    sampling_rate, segment_seconds, name = RATE, 0.5, "bands"

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, wav: torch.Tensor) -> np.ndarray:
        self.seen.append(tuple(wav.shape))
        return wav.unflatten(1, (20, -1)).diff(dim=2).square().mean(2).add(1e-9).log().numpy()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Tones of two pitches, 1.2 s each: two whole segments and a rest."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for label, pitch in (("high", 2000), ("low", 150)):
        (folder / label).mkdir()
        for number in range(6):
            t = np.arange(round(1.2 * RATE)) / RATE
            wave = 0.3 * np.sin(2 * np.pi * pitch * t) + rng.normal(0, 0.001, len(t))
            soundfile.write(folder / label / f"{number}.wav", wave, RATE)
    (folder / "low" / "broken.wav").write_bytes(b"RIFF????WAVE")
    return folder


@pytest.fixture(scope="module")
def heard(recordings) -> EmbeddingModel:
    encoder = Bands()
    found = embed_collection(encoder, recordings)
    assert [Path(path).name for path in found.failed] == ["broken.wav"]
    assert {shape[1] for shape in encoder.seen} == {RATE // 2}
    return fit_embeddings(
        found.z, found.labels, tracks=found.tracks, splits=found.splits, audio=found.audio, offsets=found.offsets,
        encoder=encoder, prototypes_per_class=1, adaptor=False, settings=QUICK,
    )  # fmt: skip


def test_with_its_encoder_it_takes_sound_like_any_model(heard, recordings):
    prediction = heard.predict(recordings / "low" / "0.wav")
    assert prediction.label == "low"
    assert prediction.num_segments == 3
    assert prediction.duration == pytest.approx(1.2)
    assert [one.label for one in heard.predict([recordings / "high" / "1.wav", recordings / "low" / "2.wav"])] == [
        "high",
        "low",
    ]
    assert heard.embed(recordings / "low" / "0.wav").shape == (3, 20)
    assert heard.explain(recordings / "high" / "0.wav").label == "high"


def test_its_prototypes_are_heard_by_training_segments(heard, recordings, tmp_path):
    waves = [soundfile.read(path, dtype="float32")[0] for path in sorted((recordings / "low").glob("[0-9].wav"))]
    segments = [wave[start : start + RATE // 2] for wave in waves for start in (0, RATE // 2)]
    sound = heard.example_sounds.get(1)  # of "low"
    assert min(np.abs(sound - segment).max() for segment in segments) < 1e-3
    (player,) = heard.listen("low")
    assert player.title == "nearest to low 0"
    heard.save_pretrained(tmp_path / "saved")
    loaded = EmbeddingModel.from_pretrained(tmp_path / "saved", device="cpu", encoder=Bands())
    assert loaded.example_sounds.get(1) == pytest.approx(sound, abs=1e-4)
    assert loaded.predict(recordings / "low" / "0.wav").label == "low"


def test_from_the_hub_it_comes_with_its_sounds(heard, hub, monkeypatch, tmp_path):
    heard.save_pretrained(tmp_path / "saved")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    push_directory(tmp_path / "saved", "tester/bands")
    loaded = EmbeddingModel.from_pretrained("tester/bands", device="cpu")
    assert loaded.labels == heard.labels
    assert loaded.example_sounds.get(0) == pytest.approx(heard.example_sounds.get(0), abs=1e-4)
    assert loaded.neighbours.nearest(0) == heard.neighbours.nearest(0)


def test_a_model_without_its_encoder_still_plays_and_names_it(heard, tmp_path):
    heard.save_pretrained(tmp_path / "saved")
    loaded = EmbeddingModel.from_pretrained(tmp_path / "saved", device="cpu")
    assert len(loaded.listen("low")) == 1
    with pytest.raises(ConfigError, match="embeddings of bands"):
        loaded.predict(np.sin(np.arange(RATE) / 3), sampling_rate=RATE)
    other = Bands()
    other.segment_seconds = 2.0
    with pytest.raises(ConfigError, match=r"segment_seconds=2\.0, the model was fitted with 0\.5"):
        EmbeddingModel.from_pretrained(tmp_path / "saved", encoder=other)


def test_its_report_plays_the_recordings(heard, recordings, tmp_path):
    report = explain_tracks(heard, [recordings / "low" / "3.wav"], tmp_path / "page.html", neighbours=heard.neighbours)
    assert set(report.sounds) == {0, 1}
    assert report.to_dict()["recorded"] is True
    assert report.tracks[0].explanation.label == "low"
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_without_recordings_the_report_says_the_reasons_alone(model, recordings, tmp_path):
    silent = EmbeddingModel(
        model.head, model.labels, encoder=CallableEncoder(lambda wav: wav[:, :24], sampling_rate=RATE, segment_seconds=0.5)
    )
    report = explain_tracks(silent, [recordings / "low" / "3.wav"], tmp_path / "page.html")
    assert report.sounds == {}
    assert report.tracks[0].explanation.contributions.shape == (3, 6)


def test_an_encoder_that_keeps_time_is_told_to_average():
    encoder = CallableEncoder(lambda wav: wav[:, None], sampling_rate=RATE, segment_seconds=0.5, name="frames")
    with pytest.raises(ConfigError, match=r"frames returns the shape \(2, 1, 4000\).*Average over time"):
        encoder.encode(torch.zeros(2, 4000))


def test_a_sound_of_another_name_is_refused(heard, tmp_path):
    heard.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "examples" / "notes.flac").write_bytes(b"")
    with pytest.raises(PecmaeError, match=r"notes\.flac"):
        EmbeddingModel.from_pretrained(tmp_path / "saved")


def test_embedding_models_do_not_need_the_autoencoder(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "autoencoder" not in config
    assert not (tmp_path / "saved" / "autoencoder").exists()
    assert Neighbours.load(tmp_path / "saved") is not None


class TestOtherEncoders:
    """The example with MERT's and CLAP's kinds of models, tiny and random, from a Hub on loopback."""

    @pytest.fixture
    def clap(self, hub, tmp_path) -> str:
        transformers = pytest.importorskip("transformers")
        torch.manual_seed(0)
        audio = {
            "depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16, "patch_embeds_hidden_size": 8,
            "num_mel_bins": 16, "spec_size": 64, "window_size": 2, "num_hidden_layers": 2, "projection_dim": 12,
        }  # fmt: skip
        text = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
        transformers.ClapModel(config).save_pretrained(tmp_path / "clap")
        transformers.ClapFeatureExtractor(
            feature_size=16,
            sampling_rate=8000,
            hop_length=160,
            max_length_s=1,
            fft_window_size=256,
            frequency_max=4000,
            truncation="rand_trunc",
        ).save_pretrained(tmp_path / "clap")
        hub.add("tester/clap", tmp_path / "clap")
        return "tester/clap"

    @pytest.fixture
    def mert(self, hub, tmp_path) -> str:
        transformers = pytest.importorskip("transformers")
        torch.manual_seed(0)
        config = transformers.HubertConfig(
            hidden_size=16, num_hidden_layers=8, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
            conv_kernel=(10, 8), conv_stride=(5, 4), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )  # fmt: skip
        transformers.HubertModel(config).save_pretrained(tmp_path / "mert")
        transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path / "mert")
        hub.add("tester/mert", tmp_path / "mert")
        return "tester/mert"

    @pytest.mark.parametrize(("kind", "width"), [("clap", 12), ("mert", 16)])
    def test_they_fit_and_load_again(self, kind, width, request, recordings, tmp_path, capsys, monkeypatch):
        monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
        import other_encoders

        model_id = request.getfixturevalue(kind)
        arguments = [
            kind,
            "--data",
            str(recordings),
            "--output",
            str(tmp_path / "out"),
            "--model",
            model_id,
            "--prototypes",
            "1",
        ]
        other_encoders.main(arguments)
        assert "Evaluation of" in capsys.readouterr().out
        encoder = other_encoders.ENCODERS[kind](model_id)
        loaded = EmbeddingModel.from_pretrained(tmp_path / "out", encoder=encoder, device="cpu")
        assert loaded.head.config.embedding_dim == width
        assert loaded.predict(recordings / "low" / "0.wav").label in ("high", "low")
        assert json.loads((tmp_path / "out" / "config.json").read_text())["encoder"]["name"] == model_id
        sys.modules.pop("other_encoders")
