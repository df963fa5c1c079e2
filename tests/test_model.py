import json

import numpy as np
import pytest
import torch

from pecmae import PECMAE, AudioError, AutoencoderReference, ConfigError, Explanation, PrototypeHead, PrototypeHeadConfig
from pecmae.prototypes.neighbours import Neighbours, describe_neighbours

# Of a tone of 1.1 s in segments of 0.4 s: the last one is three quarters full.
WEIGHTS = [1, 1, 0.75]


def test_prediction_holds_the_average_of_its_segments(tiny_model, tone):
    prediction = tiny_model.predict(tone, sampling_rate=24_000)
    assert prediction.num_segments == 3
    assert prediction.duration == pytest.approx(1.1)
    assert prediction.segment_similarities.shape == (3, 6)
    np.testing.assert_allclose(prediction.logits, np.average(prediction.segment_logits, 0, WEIGHTS), atol=1e-6)
    np.testing.assert_allclose(prediction.segment_weights, WEIGHTS)
    assert prediction.label == next(iter(prediction.scores)) == tiny_model.labels[prediction.logits.argmax()]
    assert list(prediction.scores.values()) == sorted(prediction.scores.values(), reverse=True)
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.score == prediction.scores[prediction.label]
    json.dumps(prediction.to_dict())


def test_the_embedding_is_what_is_classified(tiny_model, tone):
    z = tiny_model.embed(tone, sampling_rate=24_000)
    assert z.shape == (3, 16)
    assert z.dtype == np.float32
    expected = np.average(tiny_model.head(torch.from_numpy(z)).detach().numpy(), 0, WEIGHTS)
    np.testing.assert_allclose(tiny_model.predict(tone, sampling_rate=24_000).logits, expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_batch_size_does_not_change_the_embedding(tiny_model, tone, batch_size):
    expected = tiny_model.embed(tone, sampling_rate=24_000)
    np.testing.assert_allclose(tiny_model.embed(tone, sampling_rate=24_000, batch_size=batch_size), expected, atol=1e-5)


def test_files_and_lists(tiny_model, tone, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "tone.wav", tone, 24_000, subtype="FLOAT")
    alone = tiny_model.predict(tmp_path / "tone.wav")
    both = tiny_model.predict([str(tmp_path / "tone.wav"), tmp_path / "tone.wav"])
    np.testing.assert_array_equal(alone.logits, tiny_model.predict(tone, sampling_rate=24_000).logits)
    assert [p.label for p in both] == [alone.label] * 2


def test_arrays_without_a_rate_are_refused(tiny_model, tone):
    with pytest.raises(AudioError, match="sampling_rate"):
        tiny_model.predict(tone)


def test_the_callers_array_is_not_changed(tiny_model, tone):
    before = tone.copy()
    tiny_model.predict(tone, sampling_rate=24_000)
    np.testing.assert_array_equal(tone, before)


def test_explanations_sum_to_the_logits(tiny_model, tone):
    explanation = tiny_model.explain(tone, sampling_rate=24_000)
    prediction = tiny_model.predict(tone, sampling_rate=24_000)
    np.testing.assert_array_equal(explanation.logits, prediction.logits)
    np.testing.assert_allclose(explanation.contributions.sum(1) + explanation.bias, prediction.logits, atol=1e-5)
    segments = explanation.segment_contributions.sum(2) + explanation.bias
    np.testing.assert_allclose(segments, prediction.segment_logits, atol=1e-5)
    label, number, contribution = explanation.top("jazz", count=1)[0]
    row = explanation.contributions[1]
    assert (label, number) == (("blues", "jazz", "rock")[row.argmax() // 2], row.argmax() % 2)
    assert contribution == pytest.approx(row.max())
    json.dumps(explanation.to_dict())


def test_an_explanation_that_does_not_add_up_is_refused():
    with pytest.raises(ValueError, match="miss the logits by 1"):
        Explanation(
            labels=("a",),
            prototype_labels=np.zeros(1, int),
            segment_similarities=np.ones((1, 1)),
            weight=np.ones((1, 1)),
            bias=np.zeros(1),
            logits=np.full(1, 2.0),
        )


class TestSonify:
    def test_class_by_class(self, tiny_model):
        audio = tiny_model.sonify("jazz")
        assert audio.shape == (2, 9600)
        assert audio.dtype == np.float32
        assert tiny_model.sonify(["jazz", "rock"], prototype=1).shape == (2, 9600)
        assert tiny_model.sonify().shape == (6, 9600)

    def test_a_prototype_sounds_the_same_in_any_company(self, tiny_model):
        np.testing.assert_allclose(tiny_model.sonify()[3], tiny_model.sonify("jazz", prototype=1)[0], atol=1e-5)

    def test_seeds(self, tiny_model):
        first, again, other = (tiny_model.sonify("rock", prototype=0, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 1e-3

    def test_two_prototypes_start_from_different_noise(self, tiny_model):
        assert np.abs(np.diff(tiny_model.sonify("rock"), axis=0)).max() > 1e-3

    def test_never_clips(self, tiny_model):
        bias = tiny_model.autoencoder.codec_decoder.layers[-1].conv.bias.data
        before = bias.clone()
        bias += 5
        audio = tiny_model.sonify("rock")
        bias.copy_(before)
        np.testing.assert_allclose(np.abs(audio).max(axis=1), 0.99, atol=1e-5)

    def test_unknown_names_are_answered_with_the_known_ones(self, tiny_model):
        with pytest.raises(ValueError, match="'polka' is not a class of this model; choose from blues, jazz, rock"):
            tiny_model.sonify("polka")
        with pytest.raises(ValueError, match="prototype=2 does not exist; each class has 2"):
            tiny_model.sonify("jazz", prototype=2)
        with pytest.raises(ValueError, match="labels is empty; name a class"):
            tiny_model.sonify([])


class TestDirectory:
    def test_save_and_load_give_equal_bits(self, tiny_model, tiny_model_dir, tone):
        loaded = PECMAE.from_pretrained(tiny_model_dir)
        assert loaded.labels == tiny_model.labels
        expected = tiny_model.predict(tone, sampling_rate=24_000).segment_logits
        np.testing.assert_array_equal(loaded.predict(tone, sampling_rate=24_000).segment_logits, expected)
        np.testing.assert_array_equal(loaded.sonify("jazz"), tiny_model.sonify("jazz"))

    def test_layout(self, tiny_model_dir):
        found = sorted(str(path.relative_to(tiny_model_dir)) for path in tiny_model_dir.rglob("*") if path.is_file())
        assert [name for name in found if name != "README.md"] == [
            "autoencoder/config.json",
            "autoencoder/model.safetensors",
            "config.json",
            "model.safetensors",
            "scheduler/scheduler_config.json",
        ]

    def test_a_head_can_refer_to_its_autoencoder(self, tiny_model, tiny_model_dir, tmp_path, tone):
        reference = AutoencoderReference(str(tiny_model_dir / "autoencoder"))
        PECMAE(tiny_model.autoencoder, tiny_model.head, tiny_model.labels, reference).save_pretrained(tmp_path / "head")
        assert not (tmp_path / "head" / "autoencoder").exists()
        loaded = PECMAE.from_pretrained(tmp_path / "head")
        assert loaded.autoencoder_reference == reference
        expected = tiny_model.predict(tone, sampling_rate=24_000).logits
        np.testing.assert_array_equal(loaded.predict(tone, sampling_rate=24_000).logits, expected)

    def test_the_companion_goes_along_with_the_same_weights_only(self, tiny_model_dir, tmp_path):
        directory = tmp_path / "model"
        PECMAE.from_pretrained(tiny_model_dir).save_pretrained(directory)
        (directory / "companion.safetensors").write_bytes(b"nearest segments")
        loaded = PECMAE.from_pretrained(directory)
        loaded.save_pretrained(tmp_path / "same")
        assert (tmp_path / "same" / "companion.safetensors").read_bytes() == b"nearest segments"
        loaded.head.prototypes.data += 1
        loaded.save_pretrained(tmp_path / "other")
        assert not (tmp_path / "other" / "companion.safetensors").exists()

    @pytest.mark.parametrize("stored", ["float16", "bfloat16"])
    def test_the_companion_survives_another_precision(self, tiny_model, tiny_model_dir, tmp_path, stored):
        z, tracks = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), torch.arange(6) // 2
        PECMAE.from_pretrained(tiny_model_dir).save_pretrained(tmp_path / "model")
        names, labels = ["a.wav", "b.wav", "c.wav"], torch.tensor([0, 1, 2])
        describe_neighbours(tiny_model.head, z, tracks, names, labels, segment_seconds=0.4).save(tmp_path / "model")
        loaded = PECMAE.from_pretrained(tmp_path / "model")
        loaded.save_pretrained(tmp_path / "rounded", dtype=stored)
        neighbours = Neighbours.load(tmp_path / "rounded")
        assert neighbours is not None
        assert neighbours.nearest(1) == Neighbours.load(tmp_path / "model").nearest(1)
        # And back: the rounded weights as float32.
        PECMAE.from_pretrained(tmp_path / "rounded").save_pretrained(tmp_path / "back", dtype="float32")
        assert Neighbours.load(tmp_path / "back") is not None
        loaded.head.prototypes.data[0] += 0.1
        loaded.save_pretrained(tmp_path / "other", dtype=stored)
        assert Neighbours.load(tmp_path / "other") is None

    def test_models_can_share_a_loaded_autoencoder(self, tiny_model, tiny_model_dir):
        loaded = PECMAE.from_pretrained(tiny_model_dir, autoencoder=tiny_model.autoencoder)
        assert loaded.autoencoder is tiny_model.autoencoder

    @pytest.mark.parametrize(
        ("folder", "key"),
        [*(("", key) for key in ("labels", "head", "normalisation", "autoencoder", "sha256")), ("autoencoder", "sha256")],
    )
    def test_a_missing_setting_is_named(self, tiny_model, tmp_path, folder, key):
        tiny_model.save_pretrained(tmp_path / "model")
        path = tmp_path / "model" / folder / "config.json"
        config = json.loads(path.read_text())
        del config[key]
        path.write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=f"config.json: the setting '{key}' is missing"):
            PECMAE.from_pretrained(tmp_path / "model")

    @pytest.mark.parametrize(
        ("place", "change", "message"),
        [
            ("", {"sha256": "abc"}, "sha256. should hold the hash of model.safetensors"),
            ("", {"sha256": {}}, "sha256. should hold the hash of model.safetensors"),
            ("autoencoder", {"sha256": {"model.safetensors": 1}}, "sha256. should hold the hash of model.safetensors"),
            ("", {"labels": ["a", "b"]}, "config.json: 2 labels .2 different. for 3 classes"),
            ("", {"head": 5}, "config.json: head: 5 should be an object"),
            ("", {"normalisation": {"mean": 0, "std": 0}}, "a positive std"),
            ("", {"autoencoder": {"repo_id": 5, "revision": None}}, "repo_id and revision as text"),
            ("autoencoder", {"num_heads": 0}, "num_heads=0 must be above 0"),
            ("autoencoder", {"codec_upsampling_ratios": []}, r"codec_upsampling_ratios=.. must be above 0"),
            ("", {"labels": ["a", "b", "a"]}, "config.json: 3 labels .2 different. for 3 classes"),
        ],
    )
    def test_a_wrong_setting_is_named(self, tiny_model, tmp_path, place, change, message):
        tiny_model.save_pretrained(tmp_path / "model")
        path = tmp_path / "model" / place / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ConfigError, match=message):
            PECMAE.from_pretrained(tmp_path / "model")

    def test_an_autoencoder_is_not_a_model(self, tiny_model_dir):
        with pytest.raises(ConfigError, match="this is not a PECMAE model"):
            PECMAE.from_pretrained(tiny_model_dir / "autoencoder")

    def test_parts_that_do_not_belong_together(self, tiny_model):
        with pytest.raises(ConfigError, match="2 labels"):
            PECMAE(tiny_model.autoencoder, tiny_model.head, ["a", "b"])


def test_a_model_of_uneven_classes_names_and_sonifies_its_prototypes(tiny_autoencoder, tmp_path, tone):
    torch.manual_seed(3)
    config = PrototypeHeadConfig(embedding_dim=16, num_classes=3, prototypes_per_class=(1, 3, 2), adaptor=False)
    model = PECMAE(tiny_autoencoder, PrototypeHead(config), ("blues", "jazz", "hip hop"))
    assert model.prototype_indices("jazz") == [1, 2, 3]
    assert model.prototype_indices(["jazz", "hip hop"], prototype=1) == [2, 5]
    with pytest.raises(ValueError, match="each class has 1, numbered from 0"):
        model.prototype_indices(prototype=1)
    assert [model.prototype_name(row) for row in (0, 3, 5)] == ["blues 0", "jazz 2", "hip hop 1"]
    assert model.explain(tone, sampling_rate=24_000).names[3:5] == (("jazz", 2), ("hip hop", 0))
    model.save_pretrained(tmp_path / "uneven")
    again = PECMAE.from_pretrained(tmp_path / "uneven")
    assert again.head.config == config
    assert "6 prototypes" in repr(again)
    assert "| prototypes | 1, 3, 2 of the classes, 6 in all |" in (tmp_path / "uneven" / "README.md").read_text()


def test_loading_draws_nothing_that_it_overwrites(tiny_model_dir):
    before = torch.get_rng_state()
    first, second = (PECMAE.from_pretrained(tiny_model_dir, device="cpu", dtype="float32") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
