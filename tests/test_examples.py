"""The training scripts, one after the other at toy size: whole, and stopped and continued, they end with the same weights."""

import json
from collections.abc import Callable
from pathlib import Path

import collect_curves
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import EncodecModel

import finetune
import pretrain_encodecmae
import replace_decoder
import train_autoencoder
import train_codec
import train_decoder
from pecmae import PECMAE, Autoencoder
from pecmae.audio.segments import write_audio
from pecmae.data.load import load_collection
from pecmae.data.waveforms import WaveformStore
from pecmae.errors import ConfigError
from pecmae.training.codec import feature_scales
from pecmae.training.codec_calibration import feature_statistics, reconstruction_report
from pecmae.training.codec_widening import Codec

RATE = 24_000
LENGTHS = ["--segment-seconds", "0.4", "--stride-seconds", "0.3"]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, six clips of 1.2 s for training and one for validation."""
    folder, draws = tmp_path_factory.mktemp("music"), np.random.default_rng(0)
    time = np.arange(round(1.2 * RATE)) / RATE
    for label, pitch in (("high", 2000), ("low", 200)):
        for split, count in (("train", 3), ("validation", 1)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                wav = 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.1 * number) * time) + draws.normal(0, 0.01, len(time))
                write_audio(folder / split / label / f"{number}.wav", wav.astype(np.float32), RATE)
    return folder


@pytest.fixture(scope="module")
def runs(music: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Each script run whole and in two parts; each stage stands on the whole run of the one before."""
    root, data = tmp_path_factory.mktemp("runs"), ["--data", str(music), "--preset", "toy"]
    found = {}

    def run(name: str, main: Callable[[list[str]], None], arguments: list[str]) -> Path:
        whole, parts = root / f"{name}-whole", root / f"{name}-parts"
        main([*arguments, "--output", str(whole)])
        main([*arguments, "--output", str(parts), "--stop-after", "0"])
        assert len(list((parts / "checkpoints").iterdir())) == 1
        main([*arguments, "--output", str(parts)])
        found[name] = whole, parts
        return whole

    codec = ["--codec", str(run("codec", train_codec.main, data) / "codec")]
    run("refined", train_codec.main, [*data, "--refine", codec[1]])
    run("widened", train_codec.main, [*data, "--refine", codec[1], "--widen"])
    encodecmae = run("encodecmae", pretrain_encodecmae.main, [*data, *codec, *LENGTHS]) / "encodecmae"
    autoencoder = run("autoencoder", train_autoencoder.main, [*data, *codec, "--encodecmae", str(encodecmae), *LENGTHS])
    head = run(
        "head", finetune.main, [*data, "--autoencoder", str(autoencoder / "autoencoder"), "--prototypes", "2", "--bundle"]
    )
    model = ["--model", str(head / "model")]
    decoder = run("decoder", train_decoder.main, [*data, *model])
    run("listening", train_decoder.main, [*data, *model, "--critic", "--start-from", str(decoder)])
    return found


@pytest.mark.parametrize(
    ("stage", "result"),
    [
        ("codec", "codec"),
        ("refined", "codec"),
        ("widened", "codec"),
        ("encodecmae", "encodecmae"),
        ("autoencoder", "autoencoder"),
        ("head", "model"),
        ("decoder", "model/autoencoder"),
        ("listening", "model/autoencoder"),
    ],
)
def test_a_stopped_and_continued_run_gives_the_same_weights(
    runs: dict[str, tuple[Path, Path]], stage: str, result: str
) -> None:
    whole, parts = (load_file(run / result / "model.safetensors") for run in runs[stage])
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("stage", ["refined", "widened"])
def test_refining_the_codec_keeps_its_features(runs: dict[str, tuple[Path, Path]], stage: str) -> None:
    before, after = (Codec.from_pretrained(runs[name][0] / "codec").state_dict() for name in ("codec", stage))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}


@pytest.mark.parametrize("stage", ["refined", "widened"])
def test_a_refined_decoder_replaces_that_of_a_model(
    runs: dict[str, tuple[Path, Path]], music: Path, stage: str, tmp_path: Path
) -> None:
    before, codec = runs["head"][0] / "model", runs[stage][0] / "codec"
    replace_decoder.main(["--model", str(before), "--codec", str(codec), "--output", str(tmp_path / "model")])
    old, new = (PECMAE.from_pretrained(path, device="cpu", dtype="float32") for path in (before, tmp_path / "model"))
    wav = music / "validation" / "low" / "0.wav"
    assert new.predict(wav).scores == old.predict(wav).scores
    features = torch.randn(1, 15, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = Codec.from_pretrained(codec).eval().decoder(features.transpose(1, 2))[:, 0]
        torch.testing.assert_close(new.autoencoder.features_to_wav(features), expected)
        assert not torch.allclose(old.autoencoder.features_to_wav(features), expected)
    assert new.sonify("low", prototype=0, num_inference_steps=2).shape == (1, 9600)


def test_a_new_decoder_changes_what_a_model_sounds_like_and_nothing_else(runs: dict[str, tuple[Path, Path]]) -> None:
    old, new, newest = (
        load_file(runs[stage][0] / "model" / "autoencoder" / "model.safetensors") for stage in ("head", "decoder", "listening")
    )
    kept = {name for name in old if not name.startswith("codec_decoder.")}
    assert all(torch.equal(old[name], found[name]) for name in kept for found in (new, newest))
    assert not torch.equal(new["codec_decoder.upsample.weight"], newest["codec_decoder.upsample.weight"])
    model = PECMAE.from_pretrained(runs["listening"][0] / "model")
    assert model.autoencoder.config.codec_decoder == "istft"
    assert model.sonify("low", prototype=0, num_inference_steps=2).shape == (1, 9600)


def test_a_decoder_of_another_codec_is_refused(runs: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    codec = Codec.from_pretrained(runs["codec"][0] / "codec")
    torch.nn.init.zeros_(codec.encoder.layers[0].conv.bias)
    codec.save_pretrained(tmp_path / "codec")
    arguments = ["--model", str(runs["autoencoder"][0] / "autoencoder"), "--codec", str(tmp_path / "codec")]
    with pytest.raises(ConfigError, match="another encoder"):
        replace_decoder.main([*arguments, "--output", str(tmp_path / "model")])
    assert not (tmp_path / "model").exists()


def test_the_codec_s_features_and_level_are_made_right_in_the_end(runs: dict[str, tuple[Path, Path]], music: Path) -> None:
    run = runs["codec"][0]
    codec = EncodecModel.from_pretrained(run / "codec").eval()
    store = WaveformStore(load_collection(music).splits["train"], run / "cache", RATE)
    mean, std = feature_statistics(codec, store)
    torch.testing.assert_close(mean, torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, feature_scales(8), atol=1e-4, rtol=1e-3)
    assert reconstruction_report(codec, store)["level"] == pytest.approx(0, abs=0.1)


def test_the_autoencoder_holds_the_frozen_parts_unchanged(runs: dict[str, tuple[Path, Path]]) -> None:
    autoencoder = Autoencoder.from_pretrained(runs["autoencoder"][0] / "autoencoder")
    codec = EncodecModel.from_pretrained(runs["codec"][0] / "codec")
    wav = 0.1 * torch.randn(1, 9600, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(autoencoder.extract_features(wav), codec.encoder(wav[:, None]).transpose(1, 2))
    stored = load_file(runs["encodecmae"][0] / "encodecmae" / "model.safetensors")
    assert all(torch.equal(autoencoder.encodecmae.state_dict()[name], value) for name, value in stored.items())


def test_the_last_stage_s_model_classifies_and_sounds(runs: dict[str, tuple[Path, Path]], music: Path) -> None:
    model = PECMAE.from_pretrained(runs["head"][0] / "model")
    assert model.labels == ("high", "low")
    assert model.predict(music / "validation" / "low" / "0.wav").label in model.labels
    assert model.sonify("low", prototype=0, num_inference_steps=2).shape == (1, 9600)


def test_a_run_that_starts_from_another_begins_with_its_weights(
    runs: dict[str, tuple[Path, Path]], music: Path, tmp_path: Path
) -> None:
    before = runs["encodecmae"][0]
    data = ["--data", str(music), "--codec", str(runs["codec"][0] / "codec"), "--preset", "toy", *LENGTHS]
    arguments = [*data, "--output", str(tmp_path), "--start-from", str(before)]
    pretrain_encodecmae.main([*arguments, "--steps", "1", "--learning-rate", "0"])
    old, new = (load_file(run / "encodecmae" / "model.safetensors") for run in (before, tmp_path))
    assert all(torch.equal(old[name], new[name]) for name in old)
    with pytest.raises(SystemExit, match="start_from"):  # its continuation has to start from the same weights
        pretrain_encodecmae.main([*arguments[:-2], "--steps", "1", "--learning-rate", "0"])


def test_curves_of_runs_are_collected_without_paths(runs: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    named = [f"{name}={whole}" for name, (whole, _) in runs.items()]
    collect_curves.main([*named, "--output", str(tmp_path / "curves.json")])
    text = (tmp_path / "curves.json").read_text()
    found = json.loads(text)
    assert list(found) == list(runs)
    assert found["codec"]["settings"]["training"]["steps"] == found["codec"]["history"][-1]["step"] == 4
    assert str(tmp_path.parent) not in text


def test_an_encodecmae_of_another_codec_is_refused(runs: dict[str, tuple[Path, Path]], music: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(music), "--codec", str(runs["refined"][0] / "codec"), "--preset", "toy", *LENGTHS]
    encodecmae = str(runs["encodecmae"][0] / "encodecmae")
    with pytest.raises(SystemExit, match="another codec"):
        train_autoencoder.main([*arguments, "--encodecmae", encodecmae, "--output", str(tmp_path)])
