"""The console alone, from a folder of audio to a published model; and what it says when something is in the way."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pecmae import PECMAE
from pecmae.cli.app import GROUPS, main

pytest_plugins = "fake_hub"
RATE = 24_000


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Three classes of six tones each, told apart by pitch."""
    draws = np.random.default_rng(0)
    for label, pitch in (("low", 200), ("middle", 800), ("high", 3200)):
        (tmp_path / "music" / label).mkdir(parents=True)
        for number in range(6):
            t = np.arange(RATE) / RATE
            wave = 0.3 * np.sin(2 * np.pi * (pitch + 7 * number) * t) + draws.normal(0, 0.01, RATE)
            soundfile.write(tmp_path / "music" / label / f"{number}.wav", wave, RATE)
    return tmp_path / "music"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run a command: exit status, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def fitted(run, music: Path, tiny_autoencoder, tmp_path: Path) -> Path:
    """A run of `pecmae fit` on the tones."""
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    status, out, err = run(
        *("fit", music, "--output", tmp_path / "run", "--autoencoder", tmp_path / "ae"),
        *("--prototypes", 1, "--steps", 20, "--batch-size", 8),
    )
    assert status == 0, err
    assert out == f"{tmp_path / 'run' / 'model'}\n"
    assert "test: class-normalised accuracy" in err
    return tmp_path / "run"


def test_fitting_evaluating_and_publishing_by_console_alone(fitted, run, music, hub, monkeypatch, tmp_path):
    model = fitted / "model"
    status, out, _ = run("evaluate", music, "--model", model, "--seeds", 1, "--round-trips", 1, "--json")
    assert status == 0
    report = json.loads(out)
    stored = json.loads((fitted / "report.json").read_text())
    assert report["tracks"]["confusion"] == stored["evaluations"]["test"]["confusion"]
    monkeypatch.setenv("HF_TOKEN", hub.token)
    status, out, err = run("push", model, "tester/tones")
    assert (status, out.rsplit("/", 2)[1:]) == (0, ["tester", "tones\n"]), err
    published = hub.repos["tester/tones"]
    files = published.commits[published.refs["main"]]
    here = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file() and path.name[0] != "."}
    assert set(files) - {".gitattributes"} == here
    assert PECMAE.from_pretrained("tester/tones", device="cpu").labels == ("high", "low", "middle")


def test_the_table_of_an_evaluation_fits_a_page(fitted, run, music):
    status, out, _ = run("evaluate", music, "--model", fitted / "model", "--seeds", 0, "--round-trips", 0, "--no-health")
    assert status == 0
    assert "accuracy" in out
    assert max(map(len, out.splitlines())) <= 120
    assert "round trip" not in out


def test_the_console_tells_whether_reasons_are_true(fitted, run, music):
    quick = ("--seeds", 0, "--round-trips", 0, "--no-health", "--model", fitted / "model")
    status, out, err = run("evaluate", music, *quick, "--split", "all", "--explanations")
    assert status == 0, err
    for words in ("deletion of prototypes", "reasons after shuffling", "after mp3 at 64 kbit/s", "similarity and level"):
        assert words in out
    status, _, err = run("evaluate", music, *quick, "--split", "all", "--unknown", music / "low")
    assert (status, "pecmae calibrate" in err) == (1, True)
    status, _, err = run("evaluate", music, *quick, "--unknown", music / "nowhere")
    assert (status, "nowhere: no such file or folder" in err) == (2, True)


def test_what_is_no_model_is_not_pushed(run, hub, tmp_path):
    status, _, err = run("push", tmp_path, "tester/nothing")
    assert status == 1
    assert "config.json" in err
    assert "tester/nothing" not in hub.repos


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(("--temperature", "0"), "temperature"), (("--class-loss-weight", "5"), "class_loss_weight"), (("--steps", "0"), "steps")],
)
def test_impossible_options_are_refused_before_any_work(run, tmp_path, arguments, text):
    status, _, err = run("fit", tmp_path / "nowhere", "--output", tmp_path / "run", *arguments)
    assert status in (1, 2)
    assert text in err
    assert "no such folder" not in err


def test_help_lists_every_command_under_what_one_wants(run):
    status, out, _ = run("--help")
    assert status == 0
    places = [out.index(f"{title}:") for title in GROUPS]
    assert places == sorted(places)
    for names in GROUPS.values():
        for name in names:
            assert out.count(f"\n  {name} ") == 1


def test_doctor_tells_versions_device_and_speed(run):
    status, out, _ = run("doctor", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["versions"]["torch"].startswith("2.")
    assert facts["device"] == "cpu"
    assert facts["precision"] in ("float32", "bfloat16")
    assert facts["audio_seconds_per_second"] > 0
    assert facts["extras"]["train"] is True


def test_help_imports_no_torch():
    code = "import sys; sys.argv = ['pecmae', '--help']\nfrom pecmae.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    result = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "False"


def test_doctor_looks_for_every_extra_there_is():
    import tomllib

    from pecmae.cli.doctor import EXTRAS

    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(EXTRAS) == set(pyproject["project"]["optional-dependencies"]) - {"test"}
