"""What the benchmarks compare is comparable, and what they count and choose is right."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import embeddings
import many_tracks
import run
import whole_path
from audio_trees import write_tone
from conftest import TINY
from measurements.compiling import compile_rows
from measurements.editing import editing_rows
from measurements.editing import subject as editing_subject
from measurements.embedding import embedding_rows, part_rows
from measurements.fidelity import Judge, Point, Sampler, fewest_steps, measure, sample, spread
from measurements.fidelity_report import verdicts, write
from measurements.processes import allocator_rows, peak_memory, write_noise
from measurements.products import Product, codec_flop, denoiser_products, encoder_products, summarizer_products, total_flop
from measurements.reference import ReferenceAutoencoder
from measurements.sonification import denoiser_rows, sonification_rows
from measurements.subjects import Subject, check_against_reference, compared, load_subject, rounding
from measurements.table import README_ROWS, Row, put_into_readme, read_json, render, write_json
from measurements.timing import interleaved
from measurements.training import Sizes, check_training, training_rows
from pecmae import AutoencoderConfig, PrototypeHeadConfig, VDiffusionScheduler
from pecmae.audio.segments import audio_duration
from pecmae.evaluation.tracks import evaluate_embedded

SIZES = Sizes(PrototypeHeadConfig(embedding_dim=16, num_classes=3, prototypes_per_class=2, adaptor_dim=32), count=60, batch=20)


@pytest.fixture(scope="module")
def subject(tiny_model_dir: Path) -> Subject:
    return load_subject("tiny", tiny_model_dir)


def test_the_reference_schedule_equals_the_library(subject):
    differences = check_against_reference(subject)
    assert set(differences) == {f"tiny: {what}" for what in ("codec features", "z", "v", "generated features", "waveform")}
    assert max(differences.values()) < 1e-5


def test_float32_rounds_nothing_away(subject):
    assert rounding(subject)["tiny: z in float32, 1 - cosine to float32"] < 1e-6


def test_a_reference_that_computes_something_else_is_refused(subject, tiny_model_dir):
    other = ReferenceAutoencoder.from_directory(tiny_model_dir / "autoencoder")
    other.weights["position.scale"] = other.weights["position.scale"] + 0.1
    with pytest.raises(RuntimeError, match=r"tiny: z differs from the reference schedule by"):
        check_against_reference(Subject("tiny", tiny_model_dir, other, subject.models))
    with pytest.raises(RuntimeError, match="differs"):
        compared("tiny", {"z": torch.tensor([torch.nan])}, {"z": torch.ones(1)})


def test_the_allocator_is_timed_as_it_is_set_and_as_it_was(subject, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("measurements.processes.subprocess.run", lambda command, env, **_: seen.append((command, env)))
    monkeypatch.setattr("measurements.processes.platform.libc_ver", lambda: ("glibc", "2.36"))
    rows = allocator_rows(subject, 0.05, tmp_path, 1)
    assert [row.what for row in rows] == [f"classify 0.05 min, tiny, freed memory {end}" for end in ("is kept", "goes back")]
    (command, kept), (same, returned) = seen
    assert command == same
    assert command[3:] == ["classify", str(tmp_path / "allocator.wav"), "--model", str(subject.directory)]
    assert kept == dict(os.environ)
    assert returned["GLIBC_TUNABLES"].startswith("glibc.malloc.")
    monkeypatch.setattr("measurements.processes.platform.libc_ver", lambda: ("", ""))
    assert allocator_rows(subject, 0.05, tmp_path, 1) == []


def test_a_part_of_the_reference_sampling_is_the_beginning_of_the_whole(subject):
    generator = torch.Generator().manual_seed(0)
    z, x = torch.randn(1, 16, generator=generator), torch.randn(1, TINY.segment_frames, 8, generator=generator)
    v = 2 * subject.reference.denoise(x, 1.0, z) - subject.reference.denoise(x, 1.0, torch.zeros_like(z))
    # At sigma = 1 the sample is noise and v is -x0; half the way is 45 degrees.
    assert torch.allclose(subject.reference.generate(z, x, 2.0, 2, 1), (x - v) / 2**0.5, atol=1e-6)


def test_flop_of_the_published_sizes():
    encoder, denoiser = encoder_products(AutoencoderConfig()), denoiser_products(AutoencoderConfig())
    # By hand, a token and layer: 768 · (3 · 768 + 768 + 2 · 4096) multiplications; and 300 · 768 twice for attention.
    layer = 300 * 768 * (4 * 768 + 2 * 4096) + 2 * 300 * 300 * 768
    assert total_flop(encoder) == 2 * (10 * layer + 300 * 128 * 768) == 54_728_294_400
    layer = 302 * 768 * (4 * 768 + 2 * 4096) + 2 * 302 * 302 * 768
    assert total_flop(denoiser) == 2 * (8 * layer + 2 * 300 * 128 * 768)
    assert total_flop(encoder_products(AutoencoderConfig(), 3)) == 3 * total_flop(encoder)
    # The summarizer's first layer as above; of the second only keys and values of all tokens.
    layer = 301 * 768 * (4 * 768 + 2 * 4096) + 2 * 301 * 301 * 768
    last = 301 * 768 * 2 * 768 + 768 * (2 * 768 + 2 * 4096) + 2 * 301 * 768
    assert total_flop(summarizer_products(AutoencoderConfig())) == 2 * (layer + last)
    assert Product(2, 3, 4, 5).flop == 2 * 2 * 3 * 4 * 5


def test_flop_of_convolutions_and_lstm():
    class Codec(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.lstm, self.up = nn.Conv1d(1, 2, 4, 4), nn.LSTM(2, 2, 2), nn.ConvTranspose1d(2, 1, 4, 4)

        def forward(self, x):
            return self.up(self.lstm(self.down(x).permute(2, 0, 1))[0].permute(1, 2, 0))

    # Three frames: 2 · 4 products each way, and in each LSTM layer four gates from two inputs and two states.
    assert codec_flop(Codec(), torch.zeros(1, 1, 12)) == 2 * 3 * (8 + 8 + 2 * 4 * 2 * 4)


def test_work_is_done_in_turn():
    done = []
    times = interleaved({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2)
    assert done == ["a", "b"] * 3
    assert all(0 <= time < 1 for time in times.values())


def test_training_step_equals_the_published_one():
    differences = check_training(SIZES)
    assert set(differences) == {"training: loss", "training: gradient"}
    assert max(differences.values()) < 1e-5


def test_every_speed_stands_beside_the_reference_and_the_limit(subject):
    rows = embedding_rows(subject, (1, 2), ["float32"], 1) + part_rows(subject, 2, 1) + training_rows(SIZES, 4, 1)
    rows += sonification_rows(subject, (1, 3), ("float32",), 1)
    assert all(row.ours > 0 and row.ratio > 0 and row.reached > 0 for row in rows)
    one, three = rows[-2:]
    assert three.reference == pytest.approx(3 * one.reference)
    assert three.limit == pytest.approx(3 * one.limit)
    # Four steps with condition, two of them without it, too.
    assert denoiser_rows(subject, "float32") == 6


def test_what_runs_is_timed_beside_what_is_compiled(subject, monkeypatch):
    compiled: list[str] = []

    def recorded(function):  # compiling itself takes a compiler and seconds
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", recorded)
    rows = compile_rows(subject, 2, 1)
    assert len(compiled) == 2
    assert [row.what.rsplit(", ")[-1] for row in rows] == 2 * ["as it runs", "compiled", "the first call"]
    assert all(row.ours > 0 for row in rows)


def test_more_and_less_are_read_the_right_way_round():
    speed = Row(group="g", what="speed", unit="1/s", ours=6, reference=2, limit=12, more_is_better=True)
    time = Row(group="g", what="time", unit="s", ours=6, reference=12, limit=3)
    assert (speed.ratio, speed.reached, time.ratio, time.reached) == (3, 0.5, 2, 0.5)
    cells = [cell.strip() for cell in render([speed]).splitlines()[-1].strip("|").split("|")]
    assert cells == ["g: speed", "1/s", "6", "2", "3×", "12", "50 %"]


def test_the_table_goes_between_the_marks(tmp_path):
    group, main = README_ROWS[0].split(": ", 1)
    rows = [Row(group=group, what=what, unit="s", ours=1) for what in (main, "other")]
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n")
    put_into_readme(readme, rows)
    put_into_readme(readme, rows)
    text = readme.read_text()
    assert text.startswith("before\n<!-- performance -->\n")
    assert text.endswith("<!-- /performance -->\nafter\n")
    assert (text.count(README_ROWS[0]), text.count("other"), text.count("old")) == (1, 0, 0)
    with pytest.raises(ValueError, match="are missing; add them"):
        put_into_readme(write_text(tmp_path / "empty.md", "nothing"), rows)
    write_json(tmp_path / "rows.json", rows, {"cores": "2"}, {"z": 0.0}, "command")
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["what"] == main
    assert read_json(tmp_path / "rows.json") == (rows, {"z": 0.0})


def test_peak_memory_is_the_childs_own():
    ballast = bytearray(b"1") * 150_000_000  # of this process
    empty = peak_memory([sys.executable, "-c", "pass"])
    assert 3 < empty < 60 < len(ballast) / 1e6
    assert peak_memory([sys.executable, "-c", "x = bytearray(100_000_000)"]) == pytest.approx(empty + 100, abs=5)
    with pytest.raises(RuntimeError, match=r"ended with status 3: sorry"):
        peak_memory([sys.executable, "-c", "import sys; print('sorry', file=sys.stderr); sys.exit(3)"])


def test_noise_has_its_duration(tmp_path):
    write_noise(tmp_path / "noise.wav", 3)
    assert audio_duration(tmp_path / "noise.wav") == 3


def test_sampling_is_what_generate_does(subject):
    model = subject.models["float32"]
    z, latents = spread(model, 3)
    for algorithm in ("ddim", "dpmsolver++"):
        expected = model.autoencoder.generate(
            z,
            num_inference_steps=5,
            guidance_scale=2.0,
            guidance_stop=1.0,
            latents=latents,
            scheduler=VDiffusionScheduler(algorithm),
        )
        found, passes = sample(model.autoencoder, z, latents, Sampler(algorithm), 5, 2.0)
        assert torch.allclose(found, expected, atol=1e-6)
        assert passes == 10
    assert sample(model.autoencoder, z, latents, Sampler("ddim", guidance_stop=0.4), 5, 2.0)[1] == 7
    assert sample(model.autoencoder, z, latents, Sampler("ddim"), 5, 1.0)[1] == 5


def test_prototypes_are_spread_over_the_classes(subject):
    model = subject.models["float32"]
    z, latents = spread(model, 3)
    assert torch.equal(z, model.head.projected_prototypes()[[0, 2, 5]])
    assert latents.shape == (3, TINY.segment_frames, 8)


def test_distances_are_nought_at_convergence_and_grow_with_the_error(subject):
    autoencoder = subject.models["float32"].autoencoder
    target = torch.randn(2, TINY.segment_frames, 8, generator=torch.Generator().manual_seed(0))
    judge = Judge(autoencoder, target)
    assert judge(target) == (0.0, 0.0)
    near, far = judge(1.01 * target), judge(1.1 * target)
    assert near[0] == pytest.approx(0.01, rel=1e-4)
    assert far[0] == pytest.approx(0.1, rel=1e-4)
    assert 0 < near[1] < far[1]


def point(sampler: str, steps: int, feature_distance: float, mel_distance: float) -> Point:
    return Point(sampler, steps, 2 * steps, feature_distance, mel_distance, steps / 40)


BAR = point("reference schedule", 40, 0.1, 1.0)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ({5: (0.2, 2.0), 10: (0.1, 1.0), 20: (0.05, 0.5)}, 10),  # as far as the bar is no worse
        ({5: (0.05, 2.0), 10: (0.2, 0.5), 20: (0.1, 0.5)}, 20),  # one distance is not enough
        ({5: (0.05, 0.5), 10: (0.2, 1.0), 20: (0.1, 0.5)}, 20),  # good by chance, worse with more steps
        ({5: (0.2, 2.0), 10: (0.2, 1.0)}, None),
    ],
)
def test_fewest_steps_that_are_no_worse(curve, expected):
    points = [point("ours", steps, *distances) for steps, distances in curve.items()]
    best = fewest_steps([*points, point("other", 2, 0.0, 0.0)], "ours", BAR)
    assert (best.steps if best else None) == expected


def test_curve_is_measured_and_drawn(subject, tmp_path):
    samplers = [Sampler("ddim"), Sampler("dpmsolver++", guidance_stop=0.5)]
    points = measure(
        {"float32": subject.models["float32"]}, subject.reference, samplers, (2, 6),
        count=2, converged_steps=50, guidance_scale=2.0,
    )  # fmt: skip
    assert [(point.sampler, point.steps, point.passes) for point in points] == [
        ("reference schedule", 40, 80),
        ("ddim", 2, 4),
        ("ddim", 6, 12),
        ("dpmsolver++, guidance_stop 0.5", 2, 3),
        ("dpmsolver++, guidance_stop 0.5", 6, 9),
    ]
    assert points[0].time == 1
    assert points[0].feature_distance < points[2].feature_distance < points[1].feature_distance
    facts = {"model": "tiny", "guidance_scale": 2.0, "prototypes": 2, "converged_steps": 50}
    write(points, facts, "command", tmp_path)
    assert (tmp_path / "sampling.png").stat().st_size > 20_000
    assert json.loads((tmp_path / "sampling.json").read_text())["points"][1]["steps"] == 2
    page = (tmp_path / "sampling.md").read_text()
    assert all(f"- {sentence}\n" in page for sentence in verdicts(points))


def test_the_page_names_the_command_that_made_it(tmp_path, monkeypatch):
    page, figures = tmp_path / "performance.md", tmp_path / "figures.json"
    options = ["--quick", "--threads", str(torch.get_num_threads()), "--only", "startup", "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", ["/somewhere/run.py", *options, "--output", str(figures)])
    monkeypatch.setitem(run.GROUPS, "startup", lambda run: [Row(group="g", what="w", unit="s", ours=1)])
    monkeypatch.setattr(run, "machine", dict)
    run.main()
    command = f"python benchmarks/run.py {' '.join(options)} --output {figures}"
    assert f"Made by `{command}`." in page.read_text()
    assert json.loads(figures.read_text())["command"] == command


def test_several_groups_are_measured_in_processes_of_their_own(monkeypatch, capsys):
    def measure(command: list[str], **_: object) -> None:
        assert command[:2] == [sys.executable, run.__file__]
        options = dict(zip(command[2:8:2], command[3:9:2], strict=True))
        assert command[8:] == ["--quick"]
        row = Row(group="g", what=f"{options['--only']} with {options['--threads']}", unit="s", ours=1)
        write_json(Path(options["--output"]), [row], {}, {options["--only"]: 0.0}, "command")

    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--threads", "1", "--only", "startup", "memory"])
    monkeypatch.setattr(run.subprocess, "run", measure)
    monkeypatch.setattr(run, "machine", dict)
    threads = torch.get_num_threads()
    try:
        run.main()
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    assert shown.index("startup with 1") < shown.index("memory with 1")


def write_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_whole_path_goes_from_clips_to_sound(tiny_autoencoder, tmp_path, capsys):
    for number in range(8):
        write_tone(tmp_path / "music" / ("low", "high")[number % 2] / f"{number}.wav", 500 * (number % 2) + number, seconds=1)
    tiny_autoencoder.save_pretrained(tmp_path / "ae")
    output = tmp_path / "whole"
    options = ["--data", str(tmp_path / "music"), "--output", str(output), "--autoencoder", str(tmp_path / "ae")]
    whole_path.main([*options, "--seconds", "0.8", "--steps", "3"])
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == [
        "| pecmae fit: check, embed, fit, save", "| pecmae evaluate",
        "| pecmae classify", "| pecmae sonify: 1 prototype, 4 steps",
    ]  # fmt: skip
    assert json.loads((output / "report.json").read_text())["tracks"]["num_tracks"] == 2
    assert audio_duration(output / "sound.wav") == pytest.approx(0.4)
    with pytest.raises(SystemExit):
        whole_path.main(options)


def test_edits_are_timed_beside_a_recomputation_that_comes_to_the_same():
    config = PrototypeHeadConfig(embedding_dim=256, num_classes=3, prototypes_per_class=4, adaptor=False, kernel_scale=40.0)
    rows = editing_rows(config, tracks=60, rounds=1)
    assert [row.what.split(",")[0] for row in rows] == ["remove", "set a weight", "merge", "move", "refit"]
    assert all(row.ours > 0 for row in rows)
    assert all(row.reference for row in rows[:-1])
    head, tracks = editing_subject(config, 60)
    accuracy = evaluate_embedded(head, ("a", "b", "c"), tracks).mean_recall
    assert 0.4 < accuracy < 1  # edits can make it better, and worse


def test_many_tracks_are_measured_after_their_answers_are_compared(tiny_model_dir, capsys):
    many_tracks.main(["--clips", "3", "--seconds", "0.5", "--rounds", "1", "--cores", "1", "--model", str(tiny_model_dir)])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("3 clips of 0.5 s, 1 cores")
    assert [row.split("  ")[0] for row in rows[1:]] == ["one at a time", "predict_many", "1 process × 1 threads"]
    assert all(float(row.split()[-2]) > 0 for row in rows[1:])


def test_embeddings_are_fitted_and_told():
    found = embeddings.measure(rows=200, width=16, classes=2, prototypes=1)
    assert found["seconds"] > 0
    assert found["accuracy"] > 0.6
