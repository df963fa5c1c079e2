import copy
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

import pecmae
from pecmae import ConfigError, PrototypeHead, PrototypeHeadConfig
from pecmae.data.tracks import EmbeddedTracks
from pecmae.prototypes.fitting import HEAD_SETTINGS, HeadObjective, fit_head, track_accuracy
from pecmae.prototypes.losses import classification_loss, head_loss
from pecmae.prototypes.published import convert_prototype_head
from pecmae.prototypes.refitting import refit_linear
from pecmae.training.loop import StepContext, step_context, train

DATA = Path(__file__).parent / "data"
CONFIG = PrototypeHeadConfig(embedding_dim=16, num_classes=3, prototypes_per_class=2, adaptor_dim=32)
SETTINGS = replace(HEAD_SETTINGS, steps=10, batch_size=16, checkpoint_every=3, log_every=1)
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(pecmae.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
    "ACCELERATE_USE_CPU": "1",
}


def clusters(seed: int = 0) -> EmbeddedTracks:
    """Thirty tracks of three segments in three classes that can be told apart, not perfectly."""
    draws = np.random.default_rng(seed)
    labels = np.arange(30) % 3
    tracks = np.repeat(np.arange(30), 3)
    centres = np.random.default_rng(9).normal(size=(3, 16))
    z = centres[labels[tracks]] + draws.normal(size=(90, 16))
    return EmbeddedTracks(torch.from_numpy(z.astype(np.float32)), torch.from_numpy(tracks), torch.from_numpy(labels))


@pytest.mark.parametrize("variant", ["adaptor", "no_adaptor"])
def test_the_published_losses_are_reproduced(variant):
    reference = load_file(DATA / "prototype_head.safetensors")

    def part(name: str) -> dict[str, torch.Tensor]:
        prefix = f"{variant}.{name}."
        return {key.removeprefix(prefix): value for key, value in reference.items() if key.startswith(prefix)}

    head = convert_prototype_head(part("init"))
    for module in head.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the reference ran without
    count = len(reference["labels"])
    data = EmbeddedTracks(reference["features"], torch.arange(count), reference["labels"].long())
    settings = replace(HEAD_SETTINGS, steps=50, batch_size=count, log_every=1)
    result = train(HeadObjective(head, data), lambda context: torch.arange(count), settings, None)
    found = torch.tensor([[point[name] for name in ("classification", "prototype")] for point in result.history])
    expected = reference[f"{variant}.trajectory"][:, :2]
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    final = convert_prototype_head(part("final")).state_dict()
    for name, tensor in head.state_dict().items():
        assert (tensor - final[name]).abs().max() <= 1e-4 * final[name].abs().max()


def test_fitting_learns_and_keeps_the_head_of_the_lowest_validation_loss():
    head, result = fit_head(
        clusters(), CONFIG, replace(SETTINGS, steps=60), validation=clusters(1), evaluate_every=10, class_loss_weight=0.5
    )
    assert result.finished
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    assert {"loss", "classification", "prototype", "accuracy", "learning_rate"} <= set(result.history[-1])
    assert not head.training
    assert track_accuracy(head, clusters(2)) > 0.8


@torch.no_grad()
def held(head: nn.Module, z: torch.Tensor, labels: torch.Tensor, weight: float) -> float:
    """Loss of a head in evaluation mode, without changing it."""
    head = copy.deepcopy(head).eval()
    return float(head_loss(head, head.normalise(z), labels, weight)[0])


def test_the_head_of_the_lowest_validation_loss_is_kept():
    data, validation = clusters(), clusters(1)
    torch.manual_seed(0)
    objective = HeadObjective(PrototypeHead(CONFIG, mean=0.1, std=0.4), data, validation, class_loss_weight=0.6)
    objective.train()
    tried, losses = [], []
    with torch.no_grad():
        # Bias for a wrong class makes a head worse and worse.
        for bias in (0.5, 0.0, 0.2, 1.0):
            objective.head.linear.bias[0] = bias
            objective.keep_best()
            tried.append(copy.deepcopy(objective.head))
            losses.append(held(objective.head, validation.z, validation.labels, 0.6))
            assert float(objective.best_loss) == pytest.approx(min(losses), rel=1e-5)
    assert losses.index(min(losses)) == 1
    assert torch.equal(weights(objective.best), weights(tried[1]))
    assert objective.head.training  # dropout is on again


def test_fitting_looks_at_validation_at_its_interval_and_in_the_end(monkeypatch):
    data, seen = clusters(), []
    # What is learned is wrong here: of all heads the first is the best, by their training losses it is the last.
    shuffled = clusters(1)
    shuffled = replace(shuffled, track_labels=shuffled.track_labels.roll(1))
    keep_best = HeadObjective.keep_best

    def remember(self: HeadObjective) -> None:
        seen.append(copy.deepcopy(self.head))
        keep_best(self)

    monkeypatch.setattr(HeadObjective, "keep_best", remember)
    settings = replace(SETTINGS, steps=30, learning_rate=1e-2)
    head, _ = fit_head(data, CONFIG, settings, validation=shuffled, evaluate_every=12, class_loss_weight=0.9)
    assert len(seen) == 3  # after 12, 24 and 30 steps
    losses, others = ([held(found, part.z, part.labels, 0.9) for found in seen] for part in (shuffled, data))
    assert losses.index(min(losses)) == 0 != others.index(min(others))
    assert torch.equal(weights(head), weights(seen[0]))
    assert torch.equal(weights(fit_head(data, CONFIG, settings, class_loss_weight=0.9)[0]), weights(seen[-1]))


def test_every_step_draws_other_segments_from_all_of_them(monkeypatch):
    forward, drawn = HeadObjective.forward, []

    def remember(self: HeadObjective, rows: torch.Tensor, context: StepContext) -> dict[str, torch.Tensor]:
        drawn.append(rows)
        return forward(self, rows, context)

    monkeypatch.setattr(HeadObjective, "forward", remember)
    fit_head(clusters(), CONFIG, replace(SETTINGS, steps=40))
    assert all(rows.shape == (16,) for rows in drawn)
    assert len({tuple(rows.tolist()) for rows in drawn}) == 40
    assert torch.cat(drawn).unique().tolist() == list(range(90))


def test_dropout_differs_from_step_to_step():
    torch.manual_seed(0)
    objective, rows = HeadObjective(PrototypeHead(CONFIG), clusters()).train(), torch.arange(90)
    first, again, other = (
        objective(rows, step_context(step, SETTINGS, Accelerator(cpu=True)))["prototype"].item() for step in (0, 0, 1)
    )
    assert first == again != other
    assert objective.eval()(rows, step_context(1, SETTINGS, Accelerator(cpu=True)))["prototype"].item() != other


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_the_linear_layer_alone_is_fitted_to_its_optimum(loss):
    config = replace(CONFIG, classification_loss=loss)
    head = fit_head(clusters(), config, SETTINGS)[0]
    before, data = copy.deepcopy(head), clusters()

    def objective(linear: nn.Linear, penalty: float) -> torch.Tensor:
        moved = sum(
            (now - then).square().sum() for now, then in zip(linear.parameters(), before.linear.parameters(), strict=True)
        )
        return classification_loss(linear(head.similarities(data.z)), data.labels, config) + penalty * moved

    refit_linear(head, data, 1e-3)
    assert torch.equal(head.prototypes, before.prototypes)
    assert torch.equal(head.projected_prototypes(), before.projected_prototypes())
    reached = float(objective(head.linear, 1e-3))
    assert reached < 0.8 * float(objective(before.linear, 1e-3))
    draws = torch.Generator().manual_seed(0)
    for _ in range(20):  # convex: no step from the optimum leads down
        other = copy.deepcopy(head.linear)
        with torch.no_grad():
            other.weight += 0.1 * torch.randn(other.weight.shape, generator=draws)
        assert float(objective(other, 1e-3)) > reached
    held = copy.deepcopy(before)
    refit_linear(held, data, 1e4)
    assert torch.allclose(held.linear.weight, before.linear.weight, atol=1e-3)


def test_own_weights_leave_each_prototype_to_its_class_alone():
    data = clusters()
    head = fit_head(data, CONFIG, SETTINGS, own_weights=True)[0]
    assert torch.equal(head.linear.weight, torch.nn.functional.one_hot(head.prototype_labels, CONFIG.num_classes).T.float())
    assert not head.linear.bias.any()
    free = fit_head(data, CONFIG, SETTINGS)[0]
    assert not torch.equal(free.linear.weight, head.linear.weight)
    with pytest.raises(ConfigError, match="ask for one of them"):
        fit_head(data, CONFIG, SETTINGS, own_weights=True, refit_penalty=1e-3)


def test_projected_prototypes_are_the_training_segments_nearest_to_them():
    data = clusters()
    head = fit_head(data, CONFIG, SETTINGS)[0]
    projected = fit_head(data, CONFIG, SETTINGS, project=True)[0]
    assert not projected.config.adaptor
    assert not projected.training
    found = projected.projected_prototypes()
    rows = torch.cdist(found, data.z).argmin(1)
    torch.testing.assert_close(found, data.z[rows])
    assert data.labels[rows].tolist() == head.prototype_labels.tolist()
    assert len(set(rows.tolist())) == len(rows)
    distances = head.distances(data.z)
    for label in range(3):  # no other pair of the class's segments lies nearer in all
        own, segments = slice(2 * label, 2 * label + 2), (data.labels == label).nonzero()[:, 0]
        first, second = distances[segments, 2 * label], distances[segments, 2 * label + 1]
        sums = (first[:, None] + second).fill_diagonal_(torch.inf)
        assert float(distances[rows[own], torch.arange(6)[own]].sum()) == pytest.approx(float(sums.min()))
    assert torch.equal(projected.linear.weight, head.linear.weight)


def test_projection_comes_before_the_linear_layer_is_fitted():
    data = clusters()
    projected = fit_head(data, CONFIG, SETTINGS, project=True)[0]
    whole = fit_head(data, CONFIG, SETTINGS, project=True, refit_penalty=1e-3)[0]
    refit_linear(projected, data, 1e-3)
    assert torch.equal(whole.linear.weight, projected.linear.weight)


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), float("inf")])
def test_a_penalty_that_is_none_is_refused_before_training(penalty, monkeypatch):
    monkeypatch.setattr("pecmae.prototypes.fitting.train", None)
    with pytest.raises(ConfigError, match="give a number from 0 on"):
        fit_head(clusters(), CONFIG, SETTINGS, refit_penalty=penalty)


def test_a_finished_run_can_still_end_with_the_linear_layer(tmp_path):
    plain, refitted = (
        fit_head(clusters(), CONFIG, SETTINGS, refit_penalty=penalty, output=tmp_path)[0] for penalty in (None, 1e-3)
    )
    assert torch.equal(plain.prototypes, refitted.prototypes)
    refit_linear(plain, clusters(), 1e-3)
    assert torch.equal(plain.linear.weight, refitted.linear.weight)
    assert not any(parameter.requires_grad for parameter in refitted.parameters())


def test_averages_are_of_each_track():
    tracks = EmbeddedTracks(torch.zeros(3, 1), torch.tensor([0, 1, 1]), torch.tensor([0, 1]))
    assert tracks.average(torch.tensor([[1.0], [2.0], [4.0]])).tolist() == [[1.0], [3.0]]


def weights(head: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in head.state_dict().values()])


RUN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_fitting import CONFIG, SETTINGS, clusters
from pecmae.prototypes.fitting import HeadObjective, fit_head
from pecmae.training.runs import Checkpoints
from accelerate import Accelerator
mode, output = sys.argv[2], sys.argv[3]
if mode == "step":
    forward = HeadObjective.forward
    def stop(self, rows, context):
        if context.step == 7:
            os.kill(os.getpid(), 9)
        return forward(self, rows, context)
    HeadObjective.forward = stop
if mode == "save":
    save = Accelerator.save_state
    def cut_off(self, folder, **options):
        save(self, folder, **options)
        if "step_6" in folder:
            with open(folder + "/model.safetensors", "r+b") as file:
                file.truncate(100)
            os.kill(os.getpid(), 9)
    Accelerator.save_state = cut_off
if mode == "between":
    # Right after a checkpoint: its part of the curves must be there, too.
    save = Checkpoints.save
    def stop_after(self, accelerator, step, *arguments):
        save(self, accelerator, step, *arguments)
        if step == 6:
            os.kill(os.getpid(), 9)
    Checkpoints.save = stop_after
fit_head(clusters(), CONFIG, SETTINGS, validation=clusters(1), evaluate_every=4, output=output)
"""


@pytest.mark.parametrize(("mode", "kept"), [("step", "step_6"), ("save", "step_3"), ("between", "step_6")])
def test_a_killed_run_continues_to_the_same_weights(tmp_path, mode, kept):
    arguments = [sys.executable, "-c", RUN, Path(__file__).parent, mode, tmp_path / "run"]
    assert subprocess.run(arguments, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    checkpoints = tmp_path / "run" / "checkpoints"
    assert max(path.name for path in checkpoints.iterdir() if path.suffix != ".partial") == kept
    options = {"validation": clusters(1), "evaluate_every": 4}
    continued, result = fit_head(clusters(), CONFIG, SETTINGS, output=tmp_path / "run", **options)
    whole, _ = fit_head(clusters(), CONFIG, SETTINGS, **options)
    assert torch.equal(weights(continued), weights(whole))
    assert [point["step"] for point in result.history] == list(range(1, 11))
    assert fit_head(clusters(), CONFIG, SETTINGS, output=tmp_path / "run", **options)[1] == result  # it has finished already
    with pytest.raises(ConfigError, match="the run there had other settings"):
        fit_head(clusters(), CONFIG, replace(SETTINGS, seed=1), output=tmp_path / "run", **options)
