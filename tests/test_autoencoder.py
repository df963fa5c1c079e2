import json

import pytest
import torch

from pecmae import Autoencoder, AutoencoderConfig, CheckpointError, ConfigError, VDiffusionScheduler
from pecmae.autoencoder.transformer import Transformer
from pecmae.core.configs import config_from_dict, config_to_dict
from pecmae.training.encodecmae import MaskedTokenModel, draw_span_mask, masked_token_loss


@pytest.fixture
def wav() -> torch.Tensor:
    return 0.1 * torch.randn(3, 9600, generator=torch.Generator().manual_seed(0))


def test_the_steps_between_make_the_whole(tiny_autoencoder, wav):
    features = tiny_autoencoder.extract_features(wav)
    assert features.shape == (3, 30, 8)
    z = tiny_autoencoder.summarize(tiny_autoencoder.encode_frames(features))
    torch.testing.assert_close(z, tiny_autoencoder.encode(wav))
    options = {"num_inference_steps": 2, "latents": tiny_autoencoder.draw_latents(3, torch.Generator().manual_seed(0))}
    sound = tiny_autoencoder.features_to_wav(tiny_autoencoder.generate(z, **options))
    assert sound.shape == (3, 9600)
    torch.testing.assert_close(tiny_autoencoder.decode(z, **options), sound)


def test_padding_does_not_change_z(tiny_autoencoder, wav):
    lengths = torch.tensor([9600, 6400, 3200])
    padded = wav.clone()
    padded[1, 6400:], padded[2, 3200:] = 7.0, -7.0  # what lies in the padding must not matter
    z = tiny_autoencoder.encode(padded, lengths)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(z[row], tiny_autoencoder.encode(wav[row : row + 1, :length])[0], atol=1e-5, rtol=1e-4)


def test_a_batch_equals_its_rows(tiny_autoencoder, wav):
    z = tiny_autoencoder.encode(wav)
    rows = torch.cat([tiny_autoencoder.encode(wav[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(z, rows, atol=1e-5, rtol=1e-4)


def test_less_than_a_frame_is_finite(tiny_autoencoder):
    z = tiny_autoencoder.encode(torch.full((1, 9600), 0.1), torch.tensor([1]))
    assert z.isfinite().all()


def test_guidance_batched_equals_two_passes(tiny_autoencoder):
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    x = tiny_autoencoder.draw_latents(2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        conditional = tiny_autoencoder.denoise(x, torch.ones(2), z)
        unconditional = tiny_autoencoder.denoise(x, torch.ones(2), torch.zeros_like(z))
    # From sigma = 1 to 0 in one step, x becomes -v.
    expected = -(unconditional + 3.0 * (conditional - unconditional))
    found = tiny_autoencoder.generate(z, num_inference_steps=1, guidance_scale=3.0, latents=x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_guidance_scale_one_is_the_conditional_branch(tiny_autoencoder):
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    x = tiny_autoencoder.draw_latents(2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = -tiny_autoencoder.denoise(x, torch.ones(2), z)
    found = tiny_autoencoder.generate(z, num_inference_steps=1, guidance_scale=1.0, latents=x)
    torch.testing.assert_close(found, expected)


def rows_of_each_pass(autoencoder, **options) -> list[int]:
    rows: list[int] = []
    handle = autoencoder.denoiser.register_forward_pre_hook(lambda module, arguments: rows.append(len(arguments[0])))
    try:
        autoencoder.generate(torch.ones(3, 16), latents=torch.zeros(3, 30, 8), **options)
    finally:
        handle.remove()
    return rows


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_inference_steps": 5, "guidance_stop": 0.4}, [6, 6, 3, 3, 3]),
        ({"num_inference_steps": 8}, [6] * 5 + [3] * 3),
        ({}, [6, 6, 3, 3]),
        ({"guidance_stop": 1.0}, [6] * 4),
        ({"guidance_stop": 0.01}, [6, 3, 3, 3]),
        ({"guidance_stop": 0.5, "guidance_scale": 1.0}, [3] * 4),
    ],
)
def test_no_unconditional_pass_runs_where_nothing_is_guided(tiny_autoencoder, options, expected):
    assert rows_of_each_pass(tiny_autoencoder, **options) == expected


def test_guidance_that_stops_is_guidance_and_then_none(tiny_autoencoder):
    generator = torch.Generator().manual_seed(7)
    z, x = torch.randn(1, 16, generator=generator), tiny_autoencoder.draw_latents(1, generator)
    found = tiny_autoencoder.generate(
        z, num_inference_steps=2, guidance_scale=3.0, guidance_stop=0.5, latents=x, scheduler=VDiffusionScheduler("ddim")
    )
    scheduler = VDiffusionScheduler("ddim")
    scheduler.set_timesteps(2)
    for sigma, scale in zip(scheduler.timesteps, (3.0, 1.0), strict=True):
        conditional, unconditional = (tiny_autoencoder.denoise(x, sigma[None], c) for c in (z, torch.zeros_like(z)))
        x = scheduler.step(unconditional + scale * (conditional - unconditional), sigma, x).prev_sample
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stop", [0.0, -0.5, 1.01])
def test_guidance_stops_after_a_share_of_the_steps(tiny_autoencoder, stop):
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        tiny_autoencoder.generate(torch.ones(1, 16), guidance_stop=stop)


def test_latents_generated_together_equal_those_generated_alone(tiny_autoencoder):
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    x = tiny_autoencoder.draw_latents(3, torch.Generator().manual_seed(1))
    together = tiny_autoencoder.generate(z, latents=x)
    alone = torch.cat([tiny_autoencoder.generate(z[i : i + 1], latents=x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_seeds_decide_the_sound(tiny_autoencoder):
    z = torch.ones(1, 16)
    first, again, other = (tiny_autoencoder.decode(z, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_save_and_load_give_equal_bits(tiny_autoencoder, tmp_path, wav):
    tiny_autoencoder.save_pretrained(tmp_path / "model")
    loaded = Autoencoder.from_pretrained(tmp_path / "model")
    assert loaded.config == tiny_autoencoder.config
    assert not loaded.training
    for name, tensor in tiny_autoencoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert torch.equal(loaded.encode(wav), tiny_autoencoder.encode(wav))


def test_half_precision_storage_loads_as_float32(tiny_autoencoder, tmp_path):
    tiny_autoencoder.save_pretrained(tmp_path / "model", dtype="float16")
    loaded = Autoencoder.from_pretrained(tmp_path / "model")
    assert loaded.dtype == torch.float32
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 0.6 * 4 * sum(p.numel() for p in loaded.parameters())


def test_a_changed_byte_in_the_weights_is_noticed(tiny_autoencoder, tmp_path):
    tiny_autoencoder.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the file is damaged"):
        Autoencoder.from_pretrained(tmp_path / "model")


def test_configurations_are_strict(tiny_autoencoder):
    values = config_to_dict(tiny_autoencoder.config)
    assert config_from_dict(AutoencoderConfig, values, "x") == tiny_autoencoder.config
    with pytest.raises(ConfigError, match="x: unknown setting 'depth'"):
        config_from_dict(AutoencoderConfig, {**values, "depth": 3}, "x")
    with pytest.raises(ConfigError, match="x: the setting 'num_heads' is missing"):
        config_from_dict(AutoencoderConfig, {k: v for k, v in values.items() if k != "num_heads"}, "x")
    with pytest.raises(ConfigError, match="x: num_heads='2' should be of type int"):
        config_from_dict(AutoencoderConfig, {**values, "num_heads": "2"}, "x")
    with pytest.raises(ConfigError, match="not a whole number of codec frames of 320 samples"):
        AutoencoderConfig(segment_seconds=0.5)


def test_a_newer_format_is_refused(tiny_autoencoder, tmp_path):
    tiny_autoencoder.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(ConfigError, match="format version 99 is newer than 1"):
        Autoencoder.from_pretrained(tmp_path / "model")


def test_device_and_dtype_are_checked(tiny_model_dir):
    with pytest.raises(ValueError, match="device='gpu9' cannot be used here"):
        Autoencoder.from_pretrained(tiny_model_dir / "autoencoder", device="gpu9")
    with pytest.raises(ValueError, match="dtype='int3' is not known"):
        Autoencoder.from_pretrained(tiny_model_dir / "autoencoder", dtype="int3")


def test_layers_of_a_stack_share_one_feed_forward():
    small, deep = Transformer(8, 16, 1, 2), Transformer(8, 16, 3, 2)
    attention_and_norms = 4 * 8 * 8 + 4 * 8
    assert sum(p.numel() for p in deep.parameters()) - sum(p.numel() for p in small.parameters()) == 2 * attention_and_norms


@pytest.mark.parametrize("padded", [False, True])
def test_a_stack_asked_for_its_first_tokens_computes_the_same_ones(padded):
    torch.manual_seed(0)
    stack, x = Transformer(16, 32, 2, 4), torch.randn(2, 5, 16)
    padding_mask = torch.arange(5) >= torch.tensor([[5], [3]]) if padded else None
    with torch.no_grad():
        torch.testing.assert_close(stack(x, padding_mask, outputs=2), stack(x, padding_mask)[:, :2])


def test_the_full_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = Autoencoder(AutoencoderConfig())
    parts = [MaskedTokenModel(model.encodecmae), model.codec_encoder, model.position, model.summarizer, model.denoiser]
    count = sum(p.numel() for part in parts for p in part.parameters())
    assert round(count / 1e6, 1) == 92.4


class TestPretraining:
    def test_span_masks_hide_the_same_number_of_frames(self):
        mask = draw_span_mask(4, 50, span=7, proportion=0.5, generator=torch.Generator().manual_seed(0))
        assert mask.sum(1).tolist() == [25] * 4

    def test_hidden_frames_do_not_reach_the_encoder(self, tiny_autoencoder):
        torch.manual_seed(0)
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5).eval()
        features = torch.randn(2, 12, 8)
        masked = draw_span_mask(2, 12, span=3, generator=torch.Generator().manual_seed(0))
        logits = model(features, masked)
        assert logits.shape == (2, 12, 2, 5)
        torch.testing.assert_close(model(features.masked_fill(masked[..., None], 9.0), masked), logits)
        assert not torch.allclose(model(features + (~masked)[..., None], masked), logits)

    def test_padding_does_not_change_the_logits(self, tiny_autoencoder):
        torch.manual_seed(0)
        model = MaskedTokenModel(tiny_autoencoder.encodecmae, num_decoder_layers=1, num_codebooks=2, codebook_size=5).eval()
        features, masked = torch.randn(2, 12, 8), torch.zeros(2, 12, dtype=torch.bool)
        masked[:, 2:5] = True
        padding_mask = torch.arange(12) >= torch.tensor([[12], [8]])
        logits = model(features, masked, padding_mask)
        torch.testing.assert_close(logits[1:, :8], model(features[1:, :8], masked[1:, :8]), atol=1e-5, rtol=1e-4)

    def test_loss_weighs_hidden_frames(self):
        logits = torch.zeros(1, 2, 1, 4)
        logits[0, 0, 0, 0] = 100.0  # certain, and right, on the visible frame
        masked = torch.tensor([[False, True]])
        loss = masked_token_loss(logits, torch.zeros(1, 2, 1, dtype=torch.int64), masked, masked_weight=0.9)
        torch.testing.assert_close(loss, 0.9 * torch.log(torch.tensor(4.0)))
