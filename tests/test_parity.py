"""Same weights, same input: equal to what the published implementation computes, within 1e-4 of the largest value."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pecmae import Autoencoder, VDiffusionScheduler
from pecmae.autoencoder.model import convert_autoencoder
from pecmae.prototypes.losses import head_loss
from pecmae.prototypes.published import convert_prototype_head
from published import PARITY, published_checkpoints

DATA = Path(__file__).parent / "data"
FRAME_STRIDE, SAMPLE_STRIDE = 12, 40
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return convert_autoencoder(*published_checkpoints(PARITY))


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(DATA / "parity.safetensors")


@pytest.fixture(scope="module")
def head_reference() -> dict[str, Tensor]:
    return load_file(DATA / "prototype_head.safetensors")


def assert_equal(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_features_and_embeddings(autoencoder, reference):
    with torch.no_grad():
        features = autoencoder.extract_features(reference["wav"], reference["wav_lens"])
        padding_mask = autoencoder.frame_padding_mask(reference["wav_lens"], 300)
        projected = autoencoder.encodecmae.project(features)
        embeddings = autoencoder.encode_frames(features, padding_mask)
    assert_equal(features[:, ::FRAME_STRIDE], reference["wav_features"])
    assert_equal(projected[:, ::FRAME_STRIDE], reference["projected_wav_features"])
    real = ~padding_mask[:, ::FRAME_STRIDE]
    assert_equal(embeddings[:, ::FRAME_STRIDE][real], reference["visible_embeddings"][real])


def test_z(autoencoder, reference):
    with torch.no_grad():
        assert_equal(autoencoder.encode(reference["wav"], reference["wav_lens"]), reference["z"])


def test_noise_velocity_and_loss(autoencoder, reference):
    scheduler = VDiffusionScheduler()
    sigma, noise = reference["sigma"], reference["noise"]
    with torch.no_grad():
        features = autoencoder.extract_features(reference["wav"], reference["wav_lens"])
        padding_mask = autoencoder.frame_padding_mask(reference["wav_lens"], 300)
        noisy = scheduler.add_noise(features, noise, sigma)
        velocity = scheduler.get_velocity(features, noise, sigma)
        predicted = autoencoder.denoise(noisy, sigma, reference["z"], padding_mask)
    assert_equal(noisy[:, ::FRAME_STRIDE], reference["noisy"])
    assert_equal(velocity[:, ::FRAME_STRIDE], reference["v_target"])
    assert_equal(predicted[:, ::FRAME_STRIDE], reference["v_pred"])
    assert_equal((predicted - velocity).square().mean(), reference["diffusion_loss"])


@pytest.mark.parametrize(
    ("name", "steps", "guidance_scale"), [("sample_steps10_guidance0", 10, 1.0), ("sample_steps20_guidance4", 20, 5.0)]
)
def test_sampling(autoencoder, reference, name, steps, guidance_scale):
    features = autoencoder.generate(
        reference["z"],
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        guidance_stop=1.0,
        scheduler=VDiffusionScheduler(algorithm_type="ddim"),
        latents=reference["x_T"],
    )
    assert_equal(features[:, ::FRAME_STRIDE], reference[name])
    if name == "sample_steps20_guidance4":
        assert_equal(autoencoder.features_to_wav(features)[:, ::SAMPLE_STRIDE], reference["decoded"])


def test_codec_round_trip(autoencoder, reference):
    with torch.no_grad():
        features = autoencoder.extract_features(reference["wav"], reference["wav_lens"])
    assert_equal(autoencoder.features_to_wav(features)[:, ::SAMPLE_STRIDE], reference["codec_roundtrip"])


@pytest.mark.parametrize("variant", ["adaptor", "no_adaptor"])
def test_prototype_network(head_reference, variant):
    head = convert_prototype_head(part(head_reference, f"{variant}.init."))
    with torch.no_grad():
        assert_equal(head.projected_prototypes(), head_reference[f"{variant}.projected_prototypes"])
        assert_equal(head.similarities(head_reference["features"]), head_reference[f"{variant}.similarity"])
        assert_equal(head(head_reference["features"]), head_reference[f"{variant}.logits"])


@pytest.mark.parametrize("variant", ["adaptor", "no_adaptor"])
def test_prototype_training_trajectory(head_reference, variant):
    head = convert_prototype_head(part(head_reference, f"{variant}.init."))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=50)
    trajectory = []
    for _ in range(50):
        loss, class_loss, own_loss = head_loss(head, head.normalise(head_reference["features"]), head_reference["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        trajectory.append([class_loss.item(), own_loss.item(), schedule.get_last_lr()[0]])
    expected = head_reference[f"{variant}.trajectory"]
    for column in range(3):
        assert_equal(torch.tensor(trajectory)[:, column], expected[:, column])
    final = convert_prototype_head(part(head_reference, f"{variant}.final."))
    for name, tensor in head.state_dict().items():
        assert_equal(tensor, final.state_dict()[name])


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
