"""The training loop, its data and the codec's own parts, at the smallest size that shows the behaviour."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from pecmae import PrototypeHeadConfig
from pecmae.audio.segments import write_audio
from pecmae.core.arrays import AppendableArray, cached_rows
from pecmae.data.load import load_collection
from pecmae.data.tracks import EmbeddedTracks
from pecmae.data.waveforms import WaveformStore, segment_places
from pecmae.errors import CheckpointError, ConfigError
from pecmae.prototypes.fitting import fit_head, track_accuracy
from pecmae.training.codec import SCALE_RATIO, codec_config, feature_scales, pad_fast, quantise_and_learn, reset_codebooks
from pecmae.training.codec_calibration import scale_initial_weights, standardise_features
from pecmae.training.codec_decoder import DecoderObjective, EncodecDecoder, EncodecEncoder
from pecmae.training.critic import Critic, SpectrogramDiscriminator, balanced
from pecmae.training.loop import StepContext, step_context, train
from pecmae.training.runs import start_from
from pecmae.training.settings import TrainingSettings, schedule
from pecmae.training.spectral_loss import SpectralLoss

RATE = 24_000
SETTINGS = TrainingSettings(
    steps=6,
    batch_size=4,
    learning_rate=0.1,
    checkpoint_every=2,
    log_every=1,
    ema_decay=0.9,
    weight_decay=0.1,
    max_grad_norm=1.0,
)


class Regression(nn.Module):
    """A linear layer with dropout; it can fail at a step, as a killed process would."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)
        self.dropout = nn.Dropout(0.5)
        self.fail_at = fail_at

    def forward(self, batch: Tensor, context: StepContext) -> dict[str, Tensor]:
        if context.step == self.fail_at:
            raise KeyboardInterrupt
        noise = torch.randn(len(batch), 1, generator=context.generator)
        return {"loss": (self.linear(self.dropout(batch)) - batch.sum(1, keepdim=True) - noise).square().mean()}


def draw(context: StepContext) -> Tensor:
    return torch.from_numpy(context.draws.random((4, 3), dtype=np.float32))[context.rows]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in module.state_dict().values()])


def codec(**changes: object) -> EncodecModel:
    torch.manual_seed(0)
    sizes = {"num_filters": 2, "hidden_size": 8, "upsampling_ratios": (4, 4), "num_codebooks": 2, "codebook_size": 16}
    return EncodecModel(codec_config(**{**sizes, **changes})).eval()


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Two classes of two clips of 1 s and 0.5 s."""
    generator = np.random.default_rng(0)
    for label in ("blues", "jazz"):
        for number, samples in enumerate((RATE, RATE // 2)):
            (tmp_path / "music" / label).mkdir(parents=True, exist_ok=True)
            write_audio(
                tmp_path / "music" / label / f"{number}.wav", generator.uniform(-0.5, 0.5, samples).astype(np.float32), RATE
            )
    return tmp_path / "music"


# The loop


@pytest.mark.parametrize("fail_at", [1, 3, 5])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, fail_at: int) -> None:
    whole, killed, continued = Regression(), Regression(fail_at), Regression()
    train(whole, draw, SETTINGS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(killed, draw, SETTINGS, tmp_path / "killed")
    result = train(continued, draw, SETTINGS, tmp_path / "killed")
    assert result.finished
    assert torch.equal(weights(whole), weights(continued))
    curves = [json.loads((tmp_path / run / "history.json").read_text()) for run in ("whole", "killed")]
    assert [p["loss"] for p in curves[0]] == [p["loss"] for p in curves[1]]


def test_a_save_that_was_cut_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Regression(3), draw, SETTINGS, tmp_path)
    partial = tmp_path / "checkpoints" / "step_4.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    continued, whole = Regression(), Regression()
    train(continued, draw, SETTINGS, tmp_path)
    train(whole, draw, SETTINGS, None)
    assert not partial.exists()
    assert torch.equal(weights(whole), weights(continued))


def test_stopping_early_leaves_a_run_that_continues(tmp_path: Path) -> None:
    stopped, continued, whole = Regression(), Regression(), Regression()
    result = train(stopped, draw, SETTINGS, tmp_path, stop_after=0)
    assert (result.step, result.finished) == (1, False)
    train(continued, draw, SETTINGS, tmp_path)
    train(whole, draw, SETTINGS, None)
    assert torch.equal(weights(whole), weights(continued))


def test_a_device_with_a_number_continues_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(Regression(), draw, SETTINGS, tmp_path, stop_after=0)
    # What Accelerate says in one of several processes on a CPU.
    monkeypatch.setattr(Accelerator, "device", torch.device("cpu", 0))
    continued, whole = Regression(), Regression()
    train(continued, draw, SETTINGS, tmp_path)
    train(whole, draw, SETTINGS, None)
    assert torch.equal(weights(whole), weights(continued))


def test_only_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    train(Regression(), draw, SETTINGS, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step_4", "step_6"]


def test_a_run_with_other_settings_is_refused_by_their_names(tmp_path: Path) -> None:
    train(Regression(), draw, SETTINGS, tmp_path, description={"data": "a"})
    with pytest.raises(ConfigError, match=r"\(data, training\.learning_rate\)"):
        train(Regression(), draw, replace(SETTINGS, learning_rate=0.2), tmp_path, description={"data": "b"})


def test_checkpoint_intervals_may_change_between_runs(tmp_path: Path) -> None:
    train(Regression(), draw, SETTINGS, tmp_path, stop_after=0)
    assert train(Regression(), draw, replace(SETTINGS, checkpoint_every=5), tmp_path).finished


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(Regression(), draw, SETTINGS, tmp_path, stop_after=0)
    (tmp_path / "checkpoints" / "step_1" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="step_1"):
        train(Regression(), draw, SETTINGS, tmp_path)


def test_seeds_decide_the_weights(tmp_path: Path) -> None:
    one, again, other = Regression(), Regression(), Regression()
    for module, seed in ((one, 0), (again, 0), (other, 1)):
        train(module, draw, replace(SETTINGS, seed=seed), None)
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))


def test_one_cycle_equals_torch() -> None:
    settings = TrainingSettings(steps=50, batch_size=1, learning_rate=1e-3, schedule="one_cycle")
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=50)
    for step in range(50):
        group = optimizer.param_groups[0]
        assert schedule(step, settings) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-6)
        optimizer.step()
        if step < 49:
            reference.step()


def test_cosine_rises_then_falls_to_its_last_fraction() -> None:
    settings = TrainingSettings(steps=101, batch_size=1, learning_rate=1.0, warmup_steps=10, final_fraction=0.1)
    rates = [schedule(step, settings)[0] for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("schedule", "linear"), ("mixed_precision", "int8")])
def test_impossible_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(SETTINGS, **{name: value})


def test_moving_average_lags_behind_the_weights() -> None:
    averaged, last = Regression(), Regression()
    train(averaged, draw, SETTINGS, None)
    train(last, draw, replace(SETTINGS, ema_decay=None), None)
    start = weights(Regression())
    assert 0 < (weights(averaged) - start).norm() < (weights(last) - start).norm()


# Data


def test_classes_and_splits_come_from_folders(music: Path, tmp_path: Path) -> None:
    (found,) = load_collection(music).splits.values()
    assert [(f.label, f.path.name) for f in found] == [
        ("blues", "0.wav"),
        ("blues", "1.wav"),
        ("jazz", "0.wav"),
        ("jazz", "1.wav"),
    ]
    (tmp_path / "split").mkdir()
    music.rename(tmp_path / "split" / "test")
    assert {split: len(files) for split, files in load_collection(tmp_path / "split").splits.items()} == {"test": 4}


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no audio files in class folders"):
        load_collection(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_collection(tmp_path / "nowhere")


def test_crops_are_the_decoded_audio_padded_at_the_end(music: Path, tmp_path: Path) -> None:
    files = load_collection(music).splits["train"]
    store = WaveformStore(files, tmp_path / "cache", RATE)
    assert store.seconds == pytest.approx(3.0)
    crop = store.crop(1, RATE // 4, RATE // 2)
    assert np.abs(crop[: RATE // 4]).max() > 0.4
    assert not crop[RATE // 4 :].any()


def test_processes_share_the_rows_of_a_batch(music: Path, tmp_path: Path) -> None:
    store = WaveformStore(load_collection(music).splits["train"], tmp_path / "cache", RATE)
    whole = store.random_crops(np.random.default_rng(0), 4, 100)
    parts = [store.random_crops(np.random.default_rng(0), 4, 100, rows) for rows in (slice(0, 2), slice(2, 4))]
    assert np.array_equal(whole, np.concatenate(parts))


def test_a_store_that_was_cut_off_is_completed(music: Path, tmp_path: Path) -> None:
    files = load_collection(music).splits["train"]
    whole = WaveformStore(files, tmp_path / "a", RATE)
    half = WaveformStore(files, tmp_path / "b", RATE)
    (folder,) = (tmp_path / "b").iterdir()
    lines = (folder / "index.jsonl").read_text().splitlines()
    (folder / "index.jsonl").write_text("\n".join(lines[:2]) + "\n12")  # a third item's line was being written
    completed = WaveformStore(files, tmp_path / "b", RATE)
    assert np.array_equal(whole.samples, completed.samples)
    assert half.key == completed.key


def test_a_changed_file_makes_another_store(music: Path, tmp_path: Path) -> None:
    files = load_collection(music).splits["train"]
    before = WaveformStore(files, tmp_path / "cache", RATE).key
    write_audio(files[0].path, np.zeros(RATE // 4, np.float32) + 0.1, RATE)
    assert WaveformStore(files, tmp_path / "cache", RATE).key != before


def test_segments_are_whole_unless_the_file_is_shorter(music: Path, tmp_path: Path) -> None:
    store = WaveformStore(load_collection(music).splits["train"][:2], tmp_path / "cache", RATE)  # 1 s and 0.5 s
    places = segment_places(store, int(0.6 * RATE), int(0.3 * RATE))
    assert [(p.item, p.offset, p.length) for p in places] == [(0, 0, 14_400), (0, 7200, 14_400), (1, 0, 12_000)]


def test_cached_rows_are_computed_once(tmp_path: Path) -> None:
    calls = []

    def compute(start: int, stop: int) -> np.ndarray:
        calls.append(start)
        return np.arange(start, stop, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)

    arguments = {"row_shape": (3,), "dtype": "float32", "batch_size": 2}
    for _ in range(2):
        rows = cached_rows(tmp_path, "rows", "key", 5, compute, **arguments)
        assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert calls == [0, 2, 4]


def test_rows_without_an_index_line_are_discarded(tmp_path: Path) -> None:
    AppendableArray(tmp_path, (), "int16").fill(iter([np.array([1, 2])]))
    with (tmp_path / "data.bin").open("ab") as file:
        file.write(b"\x07\x00\x07")
    array = AppendableArray(tmp_path, (), "int16")
    array.fill(iter([np.array([3])]))
    assert array.rows().tolist() == [1, 2, 3]


# The codec's training


def test_standardising_features_changes_nothing_but_the_features() -> None:
    model, wav = codec(), torch.randn(2, 1, 1600, generator=torch.Generator().manual_seed(0))
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_(generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = model.encoder(wav)
        codes = model.quantizer.encode(features, None)
        before = model.decoder(features), model.decoder(model.quantizer.decode(codes))
        standardise_features(model, features.mean((0, 2)), features.std((0, 2)))
        standard = model.encoder(wav)
        after = model.decoder(standard), model.decoder(model.quantizer.decode(codes))
    torch.testing.assert_close(standard.mean((0, 2)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std((0, 2)), feature_scales(8))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_scaled_initial_weights_keep_the_variance() -> None:
    model, wav = codec(), 0.1 * torch.randn(4, 1600, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model.encoder(wav[:, None]).std((0, 2)).mean() < 0.3
        scale_initial_weights(model, wav)
        features = model.encoder(wav[:, None])
        assert (features - features.mean((0, 2), keepdim=True)).std() == pytest.approx(1.0, rel=1e-3)
        assert model.decoder(features).std() == pytest.approx(float(wav.std()), rel=1e-3)


def test_codebooks_learn_the_features() -> None:
    model, generator = codec(), torch.Generator().manual_seed(0)
    reset_codebooks(model)
    centres = torch.randn(12, 8, generator=generator)
    errors = []
    for _ in range(150):
        features = centres[torch.randint(12, (2, 40), generator=generator)].transpose(1, 2)
        features = features + 0.05 * torch.randn(features.shape, generator=generator)
        sums = quantise_and_learn(model, features, generator)
        errors.append(float((features - sums[-1]).square().mean()))
    assert sums.shape == (2, 2, 8, 40)
    assert errors[-1] < 0.01
    with torch.no_grad():  # transformers' own quantizer reads what was learned
        decoded = model.quantizer.decode(model.quantizer.encode(features, None))
    assert (decoded - features).square().mean() < 0.01


def test_training_of_the_decoder_keeps_the_features() -> None:
    model = codec()
    objective = DecoderObjective(EncodecEncoder(model), EncodecDecoder(model), RATE, Critic([SpectrogramDiscriminator(256, 2)]))
    before = weights(model.encoder).clone(), weights(model.quantizer).clone(), weights(model.decoder).clone()

    def make_batch(context: StepContext) -> Tensor:
        return torch.from_numpy(context.draws.normal(0, 0.1, (2, 4000)).astype(np.float32))

    train(objective, make_batch, TrainingSettings(steps=2, batch_size=2, learning_rate=1e-3), None)
    after = weights(model.encoder), weights(model.quantizer), weights(model.decoder)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_critic_learns_apart_from_the_decoder() -> None:
    critic, generator = (
        Critic([SpectrogramDiscriminator(256, 2), SpectrogramDiscriminator(128, 2)]),
        torch.Generator().manual_seed(0),
    )
    output, target = 0.1 * torch.randn(2, 2, 2000, generator=generator)
    output.requires_grad_()
    losses = critic(output, target)
    losses["critic"].backward(retain_graph=True)
    assert output.grad is None
    assert sum(float(p.grad.abs().sum()) for p in critic.parameters() if p.grad is not None) > 0
    critic.zero_grad()
    (losses["adversarial"] + losses["matching"]).backward()
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())
    assert critic(target, target)["matching"] == 0


def test_critic_learns_to_tell_noise_from_tones() -> None:
    critic, generator = Critic([SpectrogramDiscriminator(256, 4)]), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(critic.parameters(), 5e-3)
    time = torch.arange(2000) / RATE
    for _ in range(60):
        tones = 0.1 * torch.sin(2 * torch.pi * (300 + 900 * torch.rand(4, 1, generator=generator)) * time)
        losses = critic(0.1 * torch.randn(4, 2000, generator=generator), tones)
        optimizer.zero_grad()
        losses["critic"].backward()
        optimizer.step()
    assert losses["critic"] < 1.0
    assert losses["adversarial"] > 0


def test_balanced_losses_have_their_shares_of_the_gradient() -> None:
    output = torch.tensor([3.0, -1.0, 2.0], requires_grad=True)
    losses = {"small": 1e-3 * output[0], "large": 500 * output[1]}
    balanced(output, losses, {"small": 1.0, "large": 0.5}).backward()
    assert output.grad is not None
    assert torch.allclose(output.grad, torch.tensor([1.0, 0.5, 0.0]))


def test_a_run_starts_from_the_trainable_weights_of_another(tmp_path: Path) -> None:
    def make(value: float) -> Regression:
        module = Regression()
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)
        return module

    first = make(0.0)
    train(first, draw, SETTINGS, tmp_path)
    second = make(1.0)
    facts = start_from(second, tmp_path)
    assert torch.equal(weights(first), weights(second))
    assert start_from(make(2.0), tmp_path) == facts
    with pytest.raises(ConfigError, match="no checkpoint"):
        start_from(second, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="other sizes"):
        start_from(nn.Linear(3, 5), tmp_path)


def test_spectral_loss_of_half_the_amplitude_is_half_and_log_two() -> None:
    wav = torch.sin(2 * torch.pi * 1000 * torch.arange(24_000) / RATE)[None] + 0.5 * torch.randn(1, 24_000)
    log_error, error, level = SpectralLoss(RATE)(0.5 * wav, wav)
    assert log_error == pytest.approx(np.log(2), rel=0.02)
    assert error == pytest.approx(0.5, rel=0.01)
    assert level == pytest.approx(np.log(2), rel=0.02)


def test_noise_of_another_seed_has_the_right_level_but_the_wrong_amplitudes() -> None:
    draws = torch.Generator().manual_seed(0)
    log_error, _, level = SpectralLoss(RATE)(*0.1 * torch.randn(2, 1, 24_000, generator=draws))
    assert level < 0.4 * log_error


def test_dynamics_know_how_loud_but_not_when() -> None:
    generator = torch.Generator().manual_seed(0)
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(24_000) / RATE) + 0.01 * torch.randn(24_000, generator=generator)
    gate = (torch.arange(24_000) % 12_000 < 6_000).float()
    early, late, steady = (tone * gate)[None], (tone * (1 - gate))[None], (0.5 * tone)[None]
    loss = SpectralLoss(RATE)
    assert loss.dynamics(early, early) == 0
    assert loss.dynamics(late, early) < 0.1 * loss.dynamics(steady, early)
    assert loss(late, early)[0] > loss(steady, early)[0]
    fluttering = (tone * (torch.arange(24_000) % 600 < 300))[None]  # as long silent in all, but rough
    assert loss.dynamics(fluttering, early) > 3 * loss.dynamics(late, early)


@pytest.mark.parametrize("paddings", [(6, 0), (3, 5), (0, 2), (1, 0)])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_fast_padding_equals_that_of_the_codec(paddings: tuple[int, int], mode: str) -> None:
    for frames in (3, 7, 20):
        signal = torch.randn(2, 3, frames, generator=torch.Generator().manual_seed(0))
        assert torch.equal(pad_fast(signal, paddings, mode), EncodecConv1d._pad1d(signal, paddings, mode))


def test_feature_scales_fall_by_the_ratio_and_have_unit_power() -> None:
    scales = feature_scales(32)
    assert scales[0] / scales[-1] == pytest.approx(SCALE_RATIO)
    assert scales.square().mean() == pytest.approx(1)


# The head


def clusters(seed: int, per_class: int) -> EmbeddedTracks:
    """Three classes of two clusters each in eight dimensions; two segments a track."""
    centres = np.random.default_rng(0).normal(0, 2, (3, 2, 8))
    labels = np.repeat(np.arange(3), per_class)
    draws = np.random.default_rng(seed)
    tracks = np.repeat(np.arange(len(labels)), 2)
    z = centres[labels[tracks], draws.integers(2, size=len(tracks))] + draws.normal(0, 0.3, (len(tracks), 8))
    return EmbeddedTracks(torch.from_numpy(z).float(), torch.from_numpy(tracks), torch.from_numpy(labels))


HEAD = PrototypeHeadConfig(embedding_dim=8, num_classes=3, prototypes_per_class=2, adaptor_dim=16)
HEAD_RUN = TrainingSettings(
    steps=60, batch_size=16, learning_rate=1e-2, schedule="one_cycle", optimizer="adam", weight_decay=1e-4, checkpoint_every=20
)


def test_a_fitted_head_separates_clusters() -> None:
    head, result = fit_head(clusters(1, 20), HEAD, HEAD_RUN, validation=clusters(2, 10), evaluate_every=20)
    assert result.finished
    assert track_accuracy(head, clusters(3, 10)) == 1.0


def test_the_head_of_the_lowest_validation_loss_is_returned_after_a_kill_too(tmp_path: Path) -> None:
    data, validation = clusters(1, 20), clusters(2, 10)
    whole, _ = fit_head(data, HEAD, HEAD_RUN, validation=validation, evaluate_every=5)
    fit_head(data, HEAD, HEAD_RUN, validation=validation, evaluate_every=5, output=tmp_path, stop_after=0)
    continued, _ = fit_head(data, HEAD, HEAD_RUN, validation=validation, evaluate_every=5, output=tmp_path)
    assert torch.equal(weights(whole), weights(continued))


def test_track_accuracy_weighs_classes_equally() -> None:
    head, _ = fit_head(clusters(1, 20), HEAD, replace(HEAD_RUN, steps=1))
    tracks = EmbeddedTracks(head.projected_prototypes()[[0, 0, 0, 2]], torch.arange(4), torch.tensor([0, 0, 0, 0]))
    wrong = replace(tracks, track_labels=torch.tensor([0, 0, 0, 1]))
    assert track_accuracy(head, wrong) == track_accuracy(head, replace(wrong, z=wrong.z[[0, 0, 1, 3]]))


def test_contexts_differ_by_step_only() -> None:
    accelerator = Accelerator()
    first, again, next_step = (step_context(step, SETTINGS, accelerator) for step in (0, 0, 1))
    values = [torch.rand(3, generator=context.generator) for context in (first, again, next_step)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
