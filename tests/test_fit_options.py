"""What `fit` refuses before any work, says of its results, and leaves as it was."""

import json
import logging
import random
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import finetune
from audio_trees import write_tone
from pecmae import ConfigError, PrototypeHeadConfig
from pecmae.cli import main as pecmae_console
from pecmae.data.load import load_collection
from pecmae.data.split_record import SplitRecord
from pecmae.finetuning import fit
from pecmae.prototypes.fitting import HEAD_SETTINGS, HeadFit, HeadOptions, fit_head
from pecmae.training.settings import TrainingSettings

SETTINGS = replace(HEAD_SETTINGS, steps=3, batch_size=8, checkpoint_every=2, log_every=3)
NOWHERE = Path("no such folder")


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """Six low and six high tones, without splits."""
    root = tmp_path_factory.mktemp("data") / "music"
    for number in range(6):
        write_tone(root / "low" / f"{number}.wav", number, seconds=0.5)
        write_tone(root / "high" / f"{number}.wav", 1000 + number, seconds=0.5)
    return root


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("prototype_per_class", "did you mean prototypes_per_class"),
        ("class_loss_wieght", "did you mean class_loss_weight"),
        ("stop_afer", "did you mean stop_after"),
        ("steps", r"it is one of the settings: replace\(HEAD_SETTINGS, steps=…\)"),
        ("xyzzy", "choose from"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_right_name(option, message):
    with pytest.raises(TypeError, match=message):
        fit(NOWHERE, **{option: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_loss_weight": 5.0}, "class_loss_weight .* is 5"),
        ({"class_loss_weight": -1.0}, "class_loss_weight .* is -1"),
        ({"class_loss_weight": float("nan")}, "class_loss_weight .* is nan"),
        ({"prototypes_per_class": 0}, "prototypes_per_class is 0"),
        ({"prototypes_per_class": 2.5}, "prototypes_per_class is 2.5"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"refit_penalty": -1.0}, "penalty"),
        ({"distance_reduction": "median"}, "distance_reduction"),
        ({"kernel_scale": -1.0}, "kernel_scale"),
        ({"dtype": "fp16"}, "dtype='fp16' is not known"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_is_impossible_is_refused_before_any_work(options, message):
    with pytest.raises(ConfigError, match=message):
        fit(NOWHERE, **options)


def test_options_of_the_autoencoder_without_effect_are_refused(tiny_autoencoder, music):
    with pytest.raises(ConfigError, match="revision='v2' has no effect"):
        fit(music, autoencoder=tiny_autoencoder, revision="v2")
    with pytest.raises(ConfigError, match="bundle=False needs an autoencoder on the Hub"):
        fit(music, autoencoder=tiny_autoencoder, bundle=False)


def test_options_by_name_are_the_fields_of_the_object_and_reach_the_head():
    assert list(HeadOptions.__annotations__) == [field.name for field in fields(HeadFit)]
    head = HeadFit(prototypes_per_class=3, adaptor=False).changed({"kernel_scale": 40.0})
    assert head == HeadFit(prototypes_per_class=3, adaptor=False, kernel_scale=40.0)
    assert head.config(8, 2) == PrototypeHeadConfig(
        embedding_dim=8, num_classes=2, prototypes_per_class=3, adaptor=False, kernel_scale=40.0
    )
    assert HeadFit().config(8, 2) == PrototypeHeadConfig(embedding_dim=8, num_classes=2)


def test_fit_head_has_the_same_limits():
    config = PrototypeHeadConfig(embedding_dim=8, num_classes=2)
    with pytest.raises(ConfigError, match="class_loss_weight"):
        fit_head(None, config, class_loss_weight=1.5)


def test_the_callers_autoencoder_random_state_and_threads_stay(tiny_autoencoder, music, tmp_path):
    before = {name: value.clone() for name, value in tiny_autoencoder.state_dict().items()}
    gradients = [parameter.requires_grad for parameter in tiny_autoencoder.parameters()]
    tiny_autoencoder.train()
    tiny_autoencoder.summarizer.eval()
    modes = [module.training for module in tiny_autoencoder.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads()
    try:
        result = fit(
            music, tmp_path / "run", autoencoder=tiny_autoencoder, prototypes_per_class=2, settings=SETTINGS, dtype="float16"
        )
        assert [module.training for module in tiny_autoencoder.modules()] == modes
    finally:
        tiny_autoencoder.eval()
    assert result.model.autoencoder is tiny_autoencoder
    assert [parameter.requires_grad for parameter in tiny_autoencoder.parameters()] == gradients
    assert all(torch.equal(before[name], value) for name, value in tiny_autoencoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert (random.getstate(), torch.get_num_threads()) == states[2:]


def test_two_fits_of_different_precision_follow_each_other(tiny_autoencoder, music, tmp_path):
    for precision in ("no", "bf16"):
        settings = replace(SETTINGS, mixed_precision=precision)
        result = fit(music, autoencoder=tiny_autoencoder, cache=tmp_path, prototypes_per_class=2, settings=settings)
        assert result.training.finished


def test_a_class_without_test_clips_is_said_and_gives_no_accuracy(tiny_autoencoder, tmp_path, caplog):
    for number in range(4):
        for label in ("low", "high"):
            write_tone(tmp_path / "d" / "train" / label / f"{number}.wav", number + 1000 * (label == "high"))
    write_tone(tmp_path / "d" / "test" / "low" / "9.wav", 90)
    write_tone(tmp_path / "d" / "drafts" / "9.wav", 99)
    with caplog.at_level(logging.WARNING):
        result = fit(tmp_path / "d", tmp_path / "run", autoencoder=tiny_autoencoder, prototypes_per_class=1, settings=SETTINGS)
    assert "no clips of high in test" in caplog.text
    assert "drafts: is neither a split nor holds the classes of one" in caplog.text
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["class_normalised_accuracy"]["test"] is None
    assert report["evaluations"]["test"]["interval_95"] is None
    assert report["not_measured"] == {"test": ["high"]}
    assert "accuracy" not in {metric.metric_type for metric in result.card_facts["metrics"]}


def test_evaluation_tests_on_what_fitting_tested_on(tiny_autoencoder, music, tmp_path, capsys):
    data = tmp_path / "data"
    for number in range(10):
        write_tone(data / "low" / f"{number}.wav", number, seconds=0.5)
        write_tone(data / "high" / f"{number}.wav", 1000 + number, seconds=0.5)
    (data / "low" / "broken.wav").write_bytes(b"RIFFxxxx")
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    run = ["--data", str(data), "--output", str(tmp_path / "run"), "--autoencoder", str(tmp_path / "ae"), "--skip-bad"]
    finetune.main([*run, "--preset", "toy", "--prototypes", "2", "--seed", "5"])
    write_tone(data / "low" / "added.wav", 77, seconds=0.5)
    measured = ["--seeds", "0", "--round-trips", "0", "--no-health", "--output", str(tmp_path / "found.json")]
    with pytest.raises(SystemExit):
        pecmae_console(["evaluate", str(data), "--model", str(tmp_path / "run" / "model"), *measured, "--device", "cpu"])
    found = json.loads((tmp_path / "found.json").read_text())
    fitted = json.loads((tmp_path / "run" / "report.json").read_text())["evaluations"]["test"]
    assert found["tracks"]["calibration_error"] == pytest.approx(fitted["calibration_error"], abs=1e-5)
    assert found["tracks"]["num_tracks"] == fitted["num_tracks"] == 4
    assert "2 of 22 clips were in none of the model's splits, they are left out (added.wav, broken.wav)" in found["notes"][0]
    assert "left out (added.wav" in capsys.readouterr().err


def test_the_record_follows_a_model_that_is_saved_again(tiny_autoencoder, music, tmp_path):
    from pecmae import PECMAE

    options = {"prototypes_per_class": 2, "settings": SETTINGS}
    result = fit(music, tmp_path / "run", autoencoder=tiny_autoencoder, **options)
    PECMAE.from_pretrained(tmp_path / "run" / "model").save_pretrained(tmp_path / "again")
    assert SplitRecord.load(tmp_path / "again") == SplitRecord.of(result.collection)
    assert len(SplitRecord.of(load_collection(music)).splits["train"]) == 12


@pytest.mark.parametrize("option", ["--learning-rate=-1", "--steps=0", "--class-loss-weight=nan", "--stop-after=-1"])
def test_the_script_ends_in_a_sentence(music, tmp_path, option):
    arguments = ["--data", str(music), "--output", str(tmp_path), "--preset", "toy", "--prototypes", "2", option]
    with pytest.raises(SystemExit, match=r" is .*; it must be "):
        finetune.main(arguments)


def test_an_interrupted_script_says_how_to_go_on(music, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "checkpoints" / "step_400").mkdir(parents=True)
    monkeypatch.setattr(finetune, "fit", interrupted)
    with pytest.raises(SystemExit) as stopped:
        finetune.main(["--data", str(music), "--output", str(tmp_path), "--preset", "toy"])
    assert stopped.value.code == 130
    assert "400 steps are stored" in capsys.readouterr().err
    assert isinstance(finetune.PRESETS["toy"], TrainingSettings)
