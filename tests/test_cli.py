"""The console: what goes to which stream, what the exit status says, and that nothing a user can do ends in a traceback."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

from pecmae import PECMAE, Autoencoder, __version__
from pecmae.audio.level import for_playing
from pecmae.cli.app import main
from pecmae.cli.console import deliver
from pecmae.cli.support import mirrored, sound_files
from published import write_published

RATE = 24_000
Pecmae = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pecmae(capsys: pytest.CaptureFixture[str], tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pecmae:
    """Run the console on the tiny model, in an empty folder: status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str, *arguments: object, model: object = tiny_model_dir) -> tuple[int, str, str]:
        chosen = ["--model", model] if model and command in ("classify", "sonify", "embed") else []
        with pytest.raises(SystemExit) as exit_info:
            main([command, *map(str, [*arguments, *chosen])])
        captured = capsys.readouterr()
        return int(exit_info.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def song(tmp_path: Path, tone: np.ndarray) -> Path:
    soundfile.write(tmp_path / "song.wav", tone, RATE)
    return Path("song.wav")


@pytest.fixture
def folder(tmp_path: Path, tone: np.ndarray) -> Path:
    """Two good files, one of them deeper and oddly named, and a broken one."""
    music = tmp_path / "music"
    (music / "deep [1]").mkdir(parents=True)
    soundfile.write(music / "b.flac", tone, RATE)
    soundfile.write(music / "deep [1]" / "é.wav", tone[: RATE // 2], RATE)
    (music / "broken.mp3").write_text("not music")
    (music / "notes.txt").write_text("not audio")
    return Path("music")


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Start


@pytest.mark.parametrize("arguments", [[], ["--help"], ["classify", "--help"], ["--version"], ["models", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    heavy = "{'torch', 'numpy', 'transformers', 'diffusers', 'huggingface_hub', 'soundfile', 'sklearn'}"
    report = f"atexit.register(lambda: print('imported:', *({heavy} & set(sys.modules))))"
    result = python(f"import atexit, sys; from pecmae.cli import main; {report}; main()", *arguments)
    shown = result.stdout if arguments else result.stderr  # no command at all is wrong usage
    assert "Usage: pecmae" in shown or f"pecmae {__version__}" in shown
    assert result.stdout.splitlines()[-1] == "imported:"


def test_version(pecmae: Pecmae) -> None:
    assert pecmae("--version") == (0, f"pecmae {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify"],
        ["classify", "a.wav", "--bogus"],
        ["classify", "a.wav", "--top", "0"],
        ["classify", "a.wav", "--json", "--csv"],
        ["classify", "a.wav", "--output", "a.parquet"],
        ["classify", "a.wav", "--output", "a.json", "--csv"],
        ["classify", "a.wav", "--output", "no/such/folder/a.json"],
        ["classify", "a.wav", "--output", "."],
        pytest.param(
            ["classify", "a.wav", "--output", "/proc/a.json"],
            marks=pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that refuses files to everybody"),
        ),
        ["classify", "a.wav", "--batch-size", "many"],
        ["sonify", "--steps", "0"],
        ["sonify", "--seed", "-1"],
        ["sonify", "--guidance", "nan"],
        ["embed", "a.wav"],
        ["convert", "w.pt"],
        ["frobnicate"],
    ],
)
def test_wrong_usage_is_status_2_with_a_message_on_standard_error(pecmae: Pecmae, arguments: list[str]) -> None:
    status, out, err = pecmae(*arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .+\.\n", err)  # whoever finds it, typer or a command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify"], "pecmae classify: missing argument 'PATH'; see pecmae classify --help."),
        (["polka"], "pecmae: no such command 'polka'; see pecmae --help."),
        (
            ["fit", "x", "-o", "y", "--layout", "z"],
            "pecmae fit: invalid value for '--layout': 'z' is not one of 'splits', 'classes'",
        ),
        (["clasify"], "did you mean 'classify', 'sonify'? See pecmae --help."),
    ],
)
def test_wrong_words_are_named_with_the_command_that_explains_the_right_ones(
    pecmae: Pecmae, arguments: list[str], words: str
) -> None:
    assert words.lower() in pecmae(*arguments, model=None)[2].lower()


# classify


def test_json_holds_what_predict_answers(pecmae: Pecmae, song: Path, tiny_model: PECMAE) -> None:
    status, out, err = pecmae("classify", song, "--json")
    prediction = tiny_model.predict(song)
    assert (status, err) == (0, "")
    (row,) = json.loads(out)
    assert set(row) == {"path", "label", "score", "scores", "duration", "audible_duration", "num_segments", "notes"}
    assert (row["path"], row["label"], row["num_segments"]) == ("song.wav", prediction.label, 3)
    assert row["duration"] == pytest.approx(1.1)
    assert row["scores"] == pytest.approx(prediction.scores, abs=1e-5)
    assert list(row["scores"].values()) == sorted(row["scores"].values(), reverse=True)


def test_csv_says_the_same_as_json(pecmae: Pecmae, folder: Path) -> None:
    rows = json.loads(pecmae("classify", folder, "--json")[1])
    status, out, _ = pecmae("classify", folder, "--csv")
    assert status == 1
    flat = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in flat] == [row["path"] for row in rows]
    for row, other in zip(flat, rows, strict=True):
        assert row["error"] == other.get("error", "")
        for label, score in other.get("scores", {}).items():
            assert float(row[f"score_{label}"]) == pytest.approx(score, abs=1e-5)
        assert row["label"] == other.get("label", "")


def test_broken_file_is_named_and_the_others_are_labelled(pecmae: Pecmae, folder: Path) -> None:
    status, out, err = pecmae("classify", folder, "--json")
    rows = {row["path"]: row for row in json.loads(out)}
    assert status == 1
    assert list(rows) == ["music/b.flac", "music/broken.mp3", "music/deep [1]/é.wav"]
    assert set(rows["music/broken.mp3"]) == {"path", "error"}
    assert "is text, not audio" in rows["music/broken.mp3"]["error"]
    assert err.splitlines() == [f"error: {rows['music/broken.mp3']['error']}", "1 of 3 failed"]
    assert rows["music/deep [1]/é.wav"]["label"] in ("blues", "jazz", "rock")


def test_table_shows_every_file_with_brackets_and_accents(pecmae: Pecmae, folder: Path) -> None:
    status, out, _ = pecmae("classify", folder, "--top", 2)
    lines = out.splitlines()
    assert status == 1
    assert [line.split("  ")[0] for line in lines[1:]] == ["music/b.flac", "music/broken.mp3", "music/deep [1]/é.wav"]
    assert "failed" in lines[2]
    assert "0.5 s" in lines[3]


def test_missing_path_is_named_and_the_others_are_done(pecmae: Pecmae, song: Path) -> None:
    status, out, err = pecmae("classify", "nowhere.wav", song, "--json")
    rows = json.loads(out)
    assert status == 1
    assert "error" in rows[0]
    assert "label" in rows[1]
    assert err.startswith("error: nowhere.wav: no such file")


def test_a_path_that_cannot_be_looked_at_is_named_and_the_others_are_done(pecmae: Pecmae, song: Path) -> None:
    status, out, err = pecmae("classify", "n" * 300, song, "--json")
    assert status == 1
    assert ["label" in row for row in json.loads(out)] == [False, True]
    assert err.startswith(f"error: {'n' * 300}: File name too long.")


def test_nothing_to_do_does_not_load_the_model(pecmae: Pecmae) -> None:
    status, _, err = pecmae("classify", "nowhere.wav", "--json", model="./no-such-model")
    assert status == 1
    assert "no-such-model" not in err


def test_warning_about_audio_is_one_line(pecmae: Pecmae, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    status, out, err = pecmae("classify", "silence.wav", "--json")
    assert status == 0
    assert err == "warning: silence.wav: is silent (peak 0); its label means nothing.\n"
    assert json.loads(out)


@pytest.mark.parametrize("top", [1, 2, 9])
def test_top_limits_the_scores(pecmae: Pecmae, song: Path, top: int) -> None:
    (row,) = json.loads(pecmae("classify", song, "--json", "--top", top)[1])
    assert len(row["scores"]) == min(top, 3)
    assert next(iter(row["scores"])) == row["label"]


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.txt"])
def test_output_gets_the_data_and_standard_output_nothing(pecmae: Pecmae, song: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    assert pecmae("classify", song, "--output", name) == (0, "", f"wrote {name}\n")
    text = (tmp_path / name).read_text()
    assert text.startswith({"out.json": "[\n", "out.csv": "path,label,score,", "out.txt": "file "}[name])
    assert {path.name for path in tmp_path.iterdir()} == {"song.wav", name}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["classify", "song.wav", "-o", "x.parquet"], "x.parquet: results are written as .json"),
        (["explain", "song.wav", "-o", "x.pdf"], "x.pdf: nothing is written here as .pdf; end the name in .html or .htm."),
        (["explain", "song.wav", "-o", "x"], "x: nothing is written here as a file without an ending;"),
        (["gallery", "-o", "x.json"], "end the name in .html or .htm."),
        (["evaluate", "data", "-o", "x.csv"], "end the name in .json or .txt."),
        (["evaluate", "data", "--picture", "x.gif"], "end the name in .png, .svg or .pdf."),
        (["sonify", "-c", "jazz", "--prototype", "0", "-o", "x.parquet"], ".parquet cannot be written"),
    ],
)
def test_a_file_whose_name_promises_what_it_cannot_hold_is_refused_before_any_work(
    pecmae: Pecmae, song: Path, tmp_path: Path, command: list[str], words: str
) -> None:
    status, out, err = pecmae(*command, model=None)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("x*"))


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_output_that_is_a_pipe_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    deliver("text", tmp_path / "pipe")
    assert os.read(reader, 9) == b"text"
    assert (tmp_path / "pipe").is_fifo()
    os.close(reader)


@pytest.mark.parametrize(
    ("option", "words"), [(["--device", "abacus"], "choose cpu"), (["--dtype", "int8"], "choose one of float32")]
)
def test_unknown_device_or_dtype_is_wrong_usage(pecmae: Pecmae, song: Path, option: list[str], words: str) -> None:
    status, out, err = pecmae("classify", song, *option)
    assert (status, out) == (2, "")
    assert words in err


@pytest.mark.parametrize("model", ["./no-such-model", "no-such-name"])
def test_model_that_cannot_be_found_is_one_line(pecmae: Pecmae, song: Path, model: str) -> None:
    status, out, err = pecmae("classify", song, model=model)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert model in err
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopping_keeps_what_is_done_and_says_so(
    tmp_path: Path, tiny_model_dir: Path, tone: np.ndarray, number: signal.Signals, status: int, word: str
) -> None:
    soundfile.write(tmp_path / "0.wav", tone, RATE)
    soundfile.write(tmp_path / "1.wav", np.tile(tone, 1_500), RATE)
    code = "from pecmae.cli import main; main()"
    command = [sys.executable, "-c", code, "classify", str(tmp_path), "--jsonl", "--model", str(tiny_model_dir)]

    def listen() -> None:  # a shell's background jobs are started deaf to it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # it comes while the second is worked on
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert json.loads(first)["path"].endswith("0.wav")
    assert process.returncode == status
    assert (out, err) == ("", f"{word}\n")


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.txt"])
def test_what_is_done_when_it_is_stopped_is_in_the_file(
    pecmae: Pecmae, folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = PECMAE.predict_many

    def stopped(self: PECMAE, sources: list[Path], **options: object) -> Iterator[object]:
        yield from many(self, sources[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(PECMAE, "predict_many", stopped)
    assert pecmae("classify", folder, "--output", name)[0] == 130
    text = (tmp_path / name).read_text()
    assert "b.flac" in text
    assert "broken" not in text
    if name == "out.json":
        assert len(json.loads(text)) == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_reader_that_leaves_early_causes_no_traceback() -> None:
    command = f"{sys.executable} -c 'from pecmae.cli import main; main()' models --json | head -c 1"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert result.stdout == "["
    assert result.stderr == ""


# sonify


def test_one_prototype_is_one_file_of_what_python_returns_at_the_level_of_playing(
    pecmae: Pecmae, tmp_path: Path, tiny_model: PECMAE
) -> None:
    options = ["--class", "jazz", "--prototype", 1, "--seed", 3, "--steps", 2, "--guidance", 1.5]
    assert pecmae("sonify", *options) == (0, "jazz-1.wav\n", "")
    heard, rate = soundfile.read(tmp_path / "jazz-1.wav", dtype="float32")
    (meant,) = tiny_model.sonify("jazz", prototype=1, seed=3, num_inference_steps=2, guidance_scale=1.5)
    assert rate == RATE
    np.testing.assert_allclose(heard, for_playing(meant, RATE), atol=1 / 2**14)


def test_seed_decides_the_sound(pecmae: Pecmae, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert pecmae("sonify", "-c", "jazz", "--prototype", 0, "--seed", seed, "-o", f"{name}.wav")[0] == 0
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b != c


def test_several_prototypes_go_into_a_folder(pecmae: Pecmae, tmp_path: Path) -> None:
    status, out, _ = pecmae("sonify", "--class", "rock", "--class", "blues", "--class", "rock", "--output", "new/sounds")
    assert status == 0
    assert out.splitlines() == [f"new/sounds/{name}.wav" for name in ("rock-0", "rock-1", "blues-0", "blues-1")]
    assert all((tmp_path / line).is_file() for line in out.splitlines())


def test_all_classes_are_sonified_by_default(pecmae: Pecmae) -> None:
    assert pecmae("sonify", "--steps", 1)[1].split() == [f"{c}-{k}.wav" for c in ("blues", "jazz", "rock") for k in (0, 1)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--class", "polka"], "choose from blues, jazz, rock"),
        (["--class", "jazz", "--prototype", "2"], "each class has 2"),
        (["--class", "jazz", "--output", "all.wav"], "2 prototypes; give a folder"),
        (["--class", "jazz", "--prototype", "0", "--output", "a.m4a"], "cannot be written"),
        (["--class", "jazz", "--output", f"{__file__}/sounds"], "sounds: this folder cannot be made"),
    ],
)
def test_impossible_sounds_are_refused_before_anything_is_made(
    pecmae: Pecmae, tmp_path: Path, options: list[str], words: str
) -> None:
    status, out, err = pecmae("sonify", *options)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_classes_with_odd_names_get_files_of_their_own() -> None:
    names = ["R&B", "R+B", "r b", "../x", "", "tenor saxophone"]
    files = [path.name for path in sound_files([(name, 0) for name in names], names, Path("out"))]
    assert files == ["R_B-0.wav", "R+B-0.wav", "r_b_2-0.wav", "x-0.wav", "class_4-0.wav", "tenor_saxophone-0.wav"]


# embed


@pytest.mark.parametrize("what", ["model", "autoencoder"])
def test_embeddings_are_those_of_embed(
    pecmae: Pecmae, song: Path, tmp_path: Path, tiny_model: PECMAE, tiny_model_dir: Path, what: str
) -> None:
    model = tiny_model_dir if what == "model" else tiny_model_dir / "autoencoder"
    status, out, err = pecmae("embed", song, "--output", "z", model=model)
    assert (status, out, err) == (0, "", "embedded 1 of 1 files into z\n")
    with safe_open(tmp_path / "z" / "song.wav.safetensors", "numpy") as file:
        np.testing.assert_allclose(file.get_tensor("z"), tiny_model.embed(song), atol=1e-6)
        np.testing.assert_array_equal(file.get_tensor("offsets"), [0, 9_600, 19_200])
        assert file.metadata()["path"] == "song.wav"
        assert file.metadata()["sampling_rate"] == "24000"
        assert float(file.metadata()["segment_seconds"]) == 0.4
        assert float(file.metadata()["duration"]) == pytest.approx(1.1)


def test_embeddings_keep_the_folders(pecmae: Pecmae, folder: Path, tmp_path: Path) -> None:
    status, _, err = pecmae("embed", folder, "--output", "z")
    assert status == 1
    assert err.splitlines()[-2:] == ["embedded 2 of 3 files into z", "1 of 3 failed"]
    made = sorted(path.relative_to(tmp_path / "z").as_posix() for path in (tmp_path / "z").rglob("*") if path.is_file())
    assert made == ["b.flac.safetensors", "deep [1]/é.wav.safetensors"]


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a/x.wav", "b/x.wav", "b/x.mp3")]
    targets = mirrored(files, list(map(str, files)), Path("out"))
    assert list(targets.values()) == [Path("out") / f"{name}.safetensors" for name in ("a/x.wav", "b/x.wav", "b/x.mp3")]


def test_output_that_is_a_file_is_refused(pecmae: Pecmae, song: Path) -> None:
    status, _, err = pecmae("embed", song, "--output", song)
    assert status == 2
    assert "song.wav: this is a file" in err


# convert and models


def test_converted_checkpoint_loads(pecmae: Pecmae, tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    weights, config, codec = write_published(tmp_path / "published")
    status, out, _ = pecmae("convert", weights, "--config", config, "--codec", codec, "--output", "converted")
    assert (status, out) == (0, "converted\n")
    assert Autoencoder.from_pretrained(tmp_path / "converted").config.embedding_dim == 128


def test_what_is_no_checkpoint_is_one_line(pecmae: Pecmae, song: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.gin"
    config.write_text("MAX_AUDIO_DURATION = 4\n")
    status, _, err = pecmae("convert", song, "--config", config, "--codec", song, "--output", "converted")
    assert status == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "converted").exists()
    status, _, err = pecmae("convert", "none.pt", "--config", song, "--codec", song, "--output", "converted")
    assert status == 2
    assert "none.pt: no such file" in err


def test_models_lists_the_zoo(pecmae: Pecmae) -> None:
    from pecmae.hub.zoo import ZOO

    status, out, err = pecmae("models", "--json")
    rows = json.loads(out)
    assert (status, err) == (0, "")
    assert [row["name"] for row in rows] == list(ZOO)
    assert {row["state"] for row in rows} <= {"embedded", "missing", "cached", "download", "not published"}
    ready, apart, waiting = pecmae("models")[1].partition("To be trained first")
    assert apart
    assert all(name in (ready if entry.available else waiting) for name, entry in ZOO.items())
    assert "gtzan" not in ready
