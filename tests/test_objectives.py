"""What the stages minimise, taken apart with networks that answer what the test wants."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pecmae import Autoencoder
from pecmae.training.diffusion import DiffusionObjective
from pecmae.training.encodecmae import MaskedTokenModel, MaskedTokenObjective, draw_span_mask, masked_token_loss
from pecmae.training.loop import StepContext


def context(seed: int = 0) -> StepContext:
    draws, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    return StepContext(0, 1, slice(None), draws, generator, torch.device("cpu"))


def run_lengths(row: Tensor) -> list[int]:
    """Lengths of the runs of True, in order."""
    return [len(part) for part in "".join("x" if hidden else " " for hidden in row.tolist()).split()]


class Asked:
    """A denoiser that remembers what it was asked and answers with the exact v, off by `error`."""

    def __init__(self, features: Tensor, error: Tensor | float = 0.0) -> None:
        self.features, self.error = features, error

    def __call__(self, noisy: Tensor, sigma: Tensor, z: Tensor, padding_mask: Tensor | None) -> Tensor:
        self.noisy, self.sigma, self.z, self.padding_mask = noisy, sigma, z, padding_mask
        angle = sigma[:, None, None] * math.pi / 2
        self.noise = (noisy - angle.cos() * self.features) / angle.sin()
        return angle.cos() * self.noise - angle.sin() * self.features + self.error


class TestDiffusion:
    ROWS, FRAMES = 800, 6

    @pytest.fixture
    def batch(self) -> tuple[Tensor, Tensor]:
        """Codec features and frame embeddings of many segments."""
        draws = torch.Generator().manual_seed(1)
        shapes = (self.ROWS, self.FRAMES, 8), (self.ROWS, self.FRAMES, 16)
        return tuple(torch.randn(shape, generator=draws) for shape in shapes)

    @pytest.fixture
    def objective(self, tiny_autoencoder: Autoencoder):
        yield DiffusionObjective(tiny_autoencoder)
        tiny_autoencoder.requires_grad_(True)

    def test_the_exact_v_costs_nothing_and_its_negative_four_times_its_power(self, objective, batch, monkeypatch):
        features, embeddings = batch
        asked = Asked(features)
        monkeypatch.setattr(objective.autoencoder, "denoise", asked)
        assert objective((features, embeddings, None), context())["loss"] < 1e-6
        monkeypatch.setattr(objective.autoencoder, "denoise", lambda *given: -asked(*given))
        # v has the power of the features and of the noise, 1.
        assert objective((features, embeddings, None), context())["loss"] == pytest.approx(4.0, rel=0.05)

    def test_noise_is_of_unit_variance_and_sigma_uniform(self, objective, batch, monkeypatch):
        features, embeddings = batch
        asked = Asked(features)
        monkeypatch.setattr(objective.autoencoder, "denoise", asked)
        objective((features, embeddings, None), context())
        assert asked.noise.mean() == pytest.approx(0, abs=0.05)
        assert asked.noise.std() == pytest.approx(1, abs=0.05)
        assert torch.histc(asked.sigma, 4, 0, 1).div(self.ROWS).sub(0.25).abs().max() < 0.05
        assert len(asked.sigma.unique()) == self.ROWS

    def test_the_context_decides_all_that_is_drawn(self, objective, batch, monkeypatch):
        features, embeddings = batch
        first, again = Asked(features), Asked(features)
        for asked in (first, again):
            monkeypatch.setattr(objective.autoencoder, "denoise", asked)
            objective((features, embeddings, None), context(3))
        for name in ("sigma", "noisy", "z"):
            assert torch.equal(getattr(first, name), getattr(again, name))

    def test_one_in_ten_learns_without_z(self, objective, batch, monkeypatch):
        features, embeddings = batch
        asked = Asked(features)
        monkeypatch.setattr(objective.autoencoder, "denoise", asked)
        objective((features, embeddings, None), context())
        z = objective.autoencoder.summarize(embeddings)
        without = (asked.z == 0).all(1)
        assert 0.07 < without.float().mean() < 0.13
        assert torch.equal(asked.z[~without], z[~without])

    def test_padding_is_neither_attended_to_nor_counted(self, objective, batch, monkeypatch):
        features, embeddings = batch
        padding_mask = torch.arange(self.FRAMES) >= torch.tensor([2, 6])[torch.arange(self.ROWS) % 2, None]
        asked = Asked(features, error=torch.where(padding_mask, 100.0, 3.0)[..., None])
        monkeypatch.setattr(objective.autoencoder, "denoise", asked)
        assert objective((features, embeddings, padding_mask), context())["loss"] == pytest.approx(9.0, rel=1e-4)
        assert asked.padding_mask is padding_mask
        before = asked.z.clone()
        embeddings[padding_mask] = 7.0
        objective((features, embeddings, padding_mask), context())
        torch.testing.assert_close(asked.z, before)

    def test_only_the_summarizer_the_denoiser_and_their_positions_learn(self, objective):
        learning = {name.split(".")[1] for name, value in objective.named_parameters() if value.requires_grad}
        frozen = {name.split(".")[1] for name, value in objective.named_parameters() if not value.requires_grad}
        assert learning == {"summarizer", "denoiser", "position"}
        assert frozen == {"codec_encoder", "codec_decoder", "encodecmae"}


class TestMaskedTokens:
    @pytest.mark.parametrize("span", [1, 5, 10])
    def test_a_span_is_of_neighbours(self, span):
        # A tenth of the frames is one span: it can neither touch nor overlap another.
        mask = draw_span_mask(20, 10 * span, span=span, proportion=0.1, generator=torch.Generator().manual_seed(0))
        assert [run_lengths(row) for row in mask] == [[span]] * 20
        assert len({int(row.nonzero()[0]) for row in mask}) > 3

    def test_spans_are_of_the_published_length_and_hide_half(self):
        generator = torch.Generator().manual_seed(0)
        mask = draw_span_mask(10, 150, proportion=0.1, generator=generator)
        assert [run_lengths(row) for row in mask] == [[15]] * 10
        assert draw_span_mask(3, 300, generator=generator).sum(1).tolist() == [150] * 3

    def test_the_decoder_sees_visible_frames_and_the_positions_of_all(self, tiny_autoencoder):
        torch.manual_seed(0)
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5).eval()
        features, masked = torch.randn(1, 6, 8), torch.tensor([[False, True, False, True, True, False]])
        seen = []
        handle = model.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        with torch.no_grad():
            model(features, masked)
            visible = model.encodecmae.encoder(model.encodecmae.project(features)[:, ~masked[0]])
            expected = model.encodecmae.position(6).expand(1, -1, -1).clone()
            expected[:, ~masked[0]] += model.decoder_projection(visible)
        handle.remove()
        torch.testing.assert_close(seen[0], expected)

    def test_padding_counts_neither_as_hidden_nor_as_visible(self):
        tokens = torch.zeros(1, 5, 1, dtype=torch.int64)
        logits = torch.zeros(1, 5, 1, 4)
        logits[0, 1, 0, 0] = 50.0  # right: nothing is lost there
        logits[0, 3:, 0, 1] = 50.0  # wrong, where nothing is
        masked = torch.tensor([[True, False, False, True, False]])
        padding_mask = torch.arange(5)[None] >= 3
        loss = masked_token_loss(logits, tokens, masked, padding_mask, masked_weight=0.8)
        # Hidden: the first frame alone. Visible: one frame that is right, one of four tokens guessed.
        assert loss == pytest.approx((0.8 + 0.2 / 2) * math.log(4), rel=1e-5)

    def test_spans_reach_the_last_frame_and_the_first(self):
        mask = draw_span_mask(200, 12, span=3, proportion=0.25, generator=torch.Generator().manual_seed(0))
        assert mask.any(0).all()

    @pytest.mark.parametrize(("frame_rate", "frames"), [(75.0, 15), (50.0, 10), (1.0, 1)])
    def test_spans_last_a_fifth_of_a_second(self, tiny_autoencoder, frame_rate, frames):
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5)
        assert MaskedTokenObjective(model, frame_rate).span == frames

    def test_accuracy_counts_the_hidden_frames_of_the_first_codebook(self, monkeypatch, tiny_autoencoder):
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5)
        objective, seen = MaskedTokenObjective(model, 25.0), []

        def answer(features: Tensor, masked: Tensor, padding_mask: Tensor | None) -> Tensor:
            """Right about hidden frames that are real, in the first codebook; wrong in the second and elsewhere."""
            seen.append((masked, padding_mask))
            logits = torch.zeros(*features.shape[:2], 2, 5)
            right = masked & ~given_padding
            logits[..., 0, 3] = torch.where(right, 50.0, 0.0)
            logits[..., 0, 1] = torch.where(right, 0.0, 50.0)
            logits[..., 1, 3] = 50.0
            return logits

        monkeypatch.setattr(model, "forward", answer)
        tokens = torch.tensor([3, 1]).expand(2, 20, 2)
        given_padding = torch.arange(20) >= torch.tensor([[20], [14]])
        found = objective((torch.zeros(2, 20, 8), tokens, given_padding), context())
        assert found["accuracy"] == 1.0
        # Hidden frames: the mean of 0 and 50. Visible ones: 50 in both codebooks.
        assert found["loss"] == pytest.approx(0.9 * 25 + 0.1 * 50, rel=1e-4)
        ((masked, padding_mask),) = seen
        assert masked.sum(1).tolist() == [10, 10]
        assert padding_mask is given_padding

    def test_visible_frames_and_other_codebooks_do_not_count_as_accurate(self, monkeypatch, tiny_autoencoder):
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5)
        objective, tokens = MaskedTokenObjective(model, 25.0), torch.tensor([3, 1]).expand(2, 20, 2)

        def answer(features: Tensor, masked: Tensor, padding_mask: Tensor | None) -> Tensor:
            """In the first codebook right about all visible frames and wrong about the hidden ones but one a row; its token in
            the second."""
            first = masked & (masked.cumsum(1) == 1)
            guess = torch.where(~masked | first, 3, 2)
            return torch.nn.functional.one_hot(torch.stack([guess, torch.full_like(guess, 3)], -1), 5).float()

        monkeypatch.setattr(model, "forward", answer)
        found = objective((torch.zeros(2, 20, 8), tokens, None), context())
        assert found["accuracy"] == pytest.approx(1 / 10)

    def test_every_step_hides_other_spans(self, monkeypatch, tiny_autoencoder):
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5)
        objective, seen = MaskedTokenObjective(model, 25.0), []
        monkeypatch.setattr(model, "forward", lambda *given: seen.append(given[1]) or torch.zeros(8, 100, 2, 5))
        batch = torch.zeros(8, 100, 8), torch.zeros(8, 100, 2, dtype=torch.int64), None
        for seed in (0, *range(60)):
            objective(batch, context(seed))
        assert torch.equal(seen[0], seen[1])
        assert len({mask.numpy().tobytes() for mask in seen}) == 60
        # Fifty frames of a row in spans of five; single frames would make about 25 runs, spans of fifteen five.
        runs = [len(run_lengths(row)) for mask in seen for row in mask]
        assert 6 < sum(runs) / len(runs) < 12
