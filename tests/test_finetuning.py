import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import finetune
import pecmae
from audio_trees import write_gtzan, write_medley, write_tone
from pecmae import PECMAE, Autoencoder, ConfigError
from pecmae.cli import main as pecmae_console
from pecmae.data.load import load_collection
from pecmae.evaluation import report as evaluation_report
from pecmae.evaluation.tracks import Evaluation
from pecmae.finetuning import fit
from pecmae.prototypes.fitting import HEAD_SETTINGS
from pecmae.prototypes.neighbours import Neighbours

pytest_plugins = ["fake_hub"]

SETTINGS = replace(HEAD_SETTINGS, steps=8, batch_size=16, checkpoint_every=4, log_every=4)
OPTIONS = {"settings": SETTINGS, "prototypes_per_class": 2}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Seven low and seven high tones, without splits."""
    for number in range(7):
        write_tone(tmp_path / "music" / "low" / f"{number}.wav", number, seconds=0.5)
        write_tone(tmp_path / "music" / "high" / f"{number}.wav", 1000 + number, seconds=0.5)
    return tmp_path / "music"


def test_a_folder_becomes_a_model(tiny_autoencoder, folder, tmp_path):
    result = fit(folder, tmp_path / "run", autoencoder=tiny_autoencoder, **OPTIONS)
    assert result.collection.counts == {
        "train": {"high": 5, "low": 5}, "validation": {"high": 1, "low": 1}, "test": {"high": 1, "low": 1}
    }  # fmt: skip
    model = PECMAE.from_pretrained(tmp_path / "run" / "model", device="cpu")
    assert model.labels == ("high", "low")
    assert model.predict(folder / "low" / "0.wav").label in model.labels
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["step"] == 8
    assert report["evaluations"]["test"]["num_tracks"] == 2
    # What the report says of the cached embeddings is what the saved model says of the files.
    clips = result.collection.splits["train"]
    answers = [model.predict(clip.path) for clip in clips]
    true, predicted = ([model.labels.index(item.label) for item in items] for items in (clips, answers))
    scores = np.array([answer.score for answer in answers])
    again = Evaluation(model.labels, (), np.array(true), np.array(predicted), scores, {})
    assert again.confusion.tolist() == report["evaluations"]["train"]["confusion"]
    assert again.calibration_error == pytest.approx(report["evaluations"]["train"]["calibration_error"], abs=1e-5)
    neighbours = Neighbours.load(tmp_path / "run" / "model")
    assert neighbours.num_segments == 20
    assert {"low/", "high"} >= {name[:4] for name in neighbours.track_names}


def test_the_card_carries_the_evaluation_the_data_and_the_settings(tiny_autoencoder, folder, tmp_path):
    result = fit(folder, tmp_path / "run", autoencoder=tiny_autoencoder, **OPTIONS)
    card = ModelCard.load(tmp_path / "run" / "model" / "README.md")
    (accuracy, calibration) = card.data.eval_results
    assert (accuracy.metric_type, accuracy.dataset_split) == ("accuracy", "test")
    assert accuracy.metric_value == round(result.evaluations["test"].accuracy, 4)
    assert calibration.metric_type == "ece"
    for text in ("music. Tracks: 10 train, 2 validation, 2 test.", "| steps | 8 of 8 |", "pecmae evaluate DATA"):
        assert text in card.content


def test_faulty_data_stops_before_any_work(tiny_autoencoder, folder, tmp_path):
    (folder / "low" / "text.wav").write_text("no audio")
    with pytest.raises(ConfigError, match=r"unreadable: 1 file[^$]*text\.wav"):
        fit(folder, tmp_path / "run", autoencoder=tiny_autoencoder, **OPTIONS)
    assert not (tmp_path / "run" / "checkpoints").exists()
    result = fit(folder, tmp_path / "run", autoencoder=tiny_autoencoder, skip_bad=True, **OPTIONS)
    assert len(result.collection.clips) == 14


def test_too_few_segments_for_the_prototypes_are_told_by_class(tiny_autoencoder, folder, tmp_path):
    with pytest.raises(ConfigError, match="music: 'high' has 10 segments to train on, fewer than its 11 prototypes"):
        fit(folder, tmp_path / "run", autoencoder=tiny_autoencoder, settings=SETTINGS, prototypes_per_class=11)


def test_gtzan_s_missing_clips_can_be_left_out(tiny_autoencoder, tmp_path):
    collection = load_collection(write_gtzan(tmp_path / "gtzan", range(6, 10), repaired=False), dataset="gtzan")
    options = {**OPTIONS, "prototypes_per_class": 1}
    result = fit(collection, autoencoder=tiny_autoencoder, cache=tmp_path / "cache", skip_bad=True, **options)
    assert {split: len(found.true) for split, found in result.evaluations.items()} == {"train": 20, "validation": 10, "test": 9}


@pytest.mark.parametrize(
    ("write", "dataset", "name", "tested"),
    [
        (lambda root: write_gtzan(root, range(6, 10), repaired=False), "gtzan", "GTZAN (fault-filtered)", 9),
        (write_medley, "medley-solos-db", "Medley-Solos-DB", 16),
    ],
    ids=["gtzan", "medley"],
)
def test_a_data_set_s_tree_through_script_and_console(
    tiny_autoencoder, tmp_path, capsys, monkeypatch, write, dataset, name, tested
):
    data = ["--data", str(write(tmp_path / "tree")), "--dataset", dataset]
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    run = ["--output", str(tmp_path / "run"), "--preset", "toy", "--prototypes", "1", "--skip-bad"]
    finetune.main([*data, "--autoencoder", str(tmp_path / "ae"), *run])
    assert json.loads(capsys.readouterr().out)["step"] == 6
    cached = sorted((tmp_path / "run" / "cache").rglob("*"))
    monkeypatch.setattr(evaluation_report, "cache_root", lambda: pytest.fail("the run has a cache"))
    picture, output = tmp_path / "confusion.png", tmp_path / "report.json"
    model = ["--model", str(tmp_path / "run" / "model"), "--seeds", "1", "--round-trips", "2", "--device", "cpu"]
    options = [*data[1:], *model, "--picture", str(picture), "--output", str(output)]
    with pytest.raises(SystemExit) as end:
        pecmae_console(["evaluate", *options])
    assert not end.value.code
    report = json.loads(output.read_text())
    assert sorted((tmp_path / "run" / "cache").rglob("*")) == cached  # nothing was embedded again
    assert (report["data"], report["split"]) == (name, "test")
    fitted = json.loads((tmp_path / "run" / "report.json").read_text())["evaluations"]["test"]
    assert report["tracks"]["confusion"] == fitted["confusion"]
    assert np.sum(report["tracks"]["confusion"]) == tested
    prototypes = report["prototypes"]["prototypes"]
    assert [row["label"] for row in prototypes] == report["tracks"]["labels"]
    assert sum(row["usage"] for row in prototypes) == pytest.approx(1)
    assert {"purity", "relative_distance", "nearest", "sonification_survival"} <= set(prototypes[0])
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_script_names_what_is_wrong_in_words(tmp_path):
    with pytest.raises(SystemExit, match="no such folder"):
        finetune.main(["--data", str(tmp_path / "nowhere"), "--output", str(tmp_path / "run"), "--preset", "toy"])


def test_two_processes_under_accelerate_share_the_work_and_end_with_the_weights_of_one(tiny_autoencoder, folder, tmp_path):
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    arguments = ["--data", str(folder), "--autoencoder", str(tmp_path / "ae"), "--preset", "toy", "--prototypes", "2"]

    def ended_with(name: str) -> tuple[torch.Tensor, dict[str, float]]:
        stored = load_file(tmp_path / name / "model" / "model.safetensors")
        report = json.loads((tmp_path / name / "report.json").read_text())
        return torch.cat([stored[key].flatten() for key in sorted(stored)]), report["losses"]

    finetune.main([*arguments, "--output", str(tmp_path / "one"), "--log-with", "tensorboard"])
    assert list((tmp_path / "one").rglob("events.out.tfevents*"))
    finetune.main([*arguments, "--output", str(tmp_path / "start"), "--learning-rate", "0"])
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", "0"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "PYTHONPATH": str(Path(pecmae.__file__).parents[1])}
    subprocess.run(
        [*launcher, finetune.__file__, *arguments, "--output", tmp_path / "two"],
        env=environment,
        check=True,
        capture_output=True,
    )
    (one, losses), (two, losses_of_two), (start, _) = (ended_with(name) for name in ("one", "two", "start"))
    assert losses_of_two == pytest.approx(losses, rel=1e-4)
    assert (two - one).abs().max() < 1e-3 * (one - start).abs().max()
    # No clip was embedded twice, nor all by one process.
    (cache,) = (tmp_path / "two" / "cache").iterdir()
    parts = [load_file(path) for path in cache.iterdir()]
    assert sum(len(part) // 3 for part in parts) == 14
    assert len(parts) >= 2


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pecmae.model_files as module
from pecmae import Autoencoder
from test_finetuning import OPTIONS
from pecmae.finetuning import fit
save = module.save_weights
def cut_off(head, path, dtype=None):
    save(head, path, dtype)
    with open(path, "r+b") as file:
        file.truncate(50)
    os.kill(os.getpid(), 9)
module.save_weights = cut_off
fit(sys.argv[2], sys.argv[3], autoencoder=Autoencoder.from_directory(sys.argv[4]), **OPTIONS)
"""


def test_a_kill_while_the_model_is_saved_leaves_no_half_model(tiny_autoencoder, folder, tmp_path):
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    tests = Path(__file__).parent
    paths = [str(tests), str(tests.parent / "examples"), str(Path(pecmae.__file__).parents[1])]
    arguments = [sys.executable, "-c", KILLED, tests, folder, tmp_path / "run", tmp_path / "ae"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "model").exists()
    result = fit(folder, tmp_path / "run", autoencoder=Autoencoder.from_directory(tmp_path / "ae"), **OPTIONS)
    assert result.training.step == 8
    loaded = PECMAE.from_pretrained(tmp_path / "run" / "model", device="cpu")
    assert loaded.predict(folder / "low" / "0.wav").scores == result.model.predict(folder / "low" / "0.wav").scores


def test_a_head_repository_is_small_and_pins_its_autoencoder(hub, tiny_autoencoder, folder, tmp_path):
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    commit = hub.add("lab/autoencoder", tmp_path / "ae")
    result = fit(folder, autoencoder="lab/autoencoder", cache=tmp_path / "cache", **OPTIONS)
    assert result.model.autoencoder_reference.revision == commit
    result.model.push_to_hub("tester/head", token=hub.token, model_card_kwargs={"name": "head", **result.card_facts})
    # The autoencoder's main branch moves on; the model stays with the commit it was fitted on.
    hub.add("lab/autoencoder", {"config.json": b"{}"})
    repo = hub.repos["tester/head"]
    files = repo.commits[repo.refs["main"]]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "scheduler/scheduler_config.json"]
    assert f"`lab/autoencoder`, revision `{commit}`" in files["README.md"].decode()
    (accuracy, _) = ModelCard(files["README.md"].decode()).data.eval_results
    assert accuracy.metric_value == round(result.evaluations["test"].accuracy, 4)
    loaded = PECMAE.from_pretrained("tester/head", device="cpu")
    assert loaded.predict(folder / "low" / "0.wav").scores == pytest.approx(
        result.model.predict(folder / "low" / "0.wav").scores
    )
