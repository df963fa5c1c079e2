"""Small models and sounds that the tests share."""

import os
from pathlib import Path

# Sums come out alike to the last bit only with the same number of threads, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch

from pecmae import PECMAE, Autoencoder, AutoencoderConfig, PrototypeHead, PrototypeHeadConfig

LABELS = ("blues", "jazz", "rock")
TINY = AutoencoderConfig(
    segment_seconds=0.4,
    feature_dim=8,
    codec_num_filters=2,
    codec_decoder_num_filters=2,
    codec_num_lstm_layers=1,
    embedding_dim=16,
    feed_forward_dim=32,
    num_encoder_layers=2,
    num_encoder_heads=2,
    num_summarizer_layers=1,
    num_denoiser_layers=2,
    num_heads=2,
    num_inference_steps=4,
)


@pytest.fixture(scope="session")
def tiny_autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(TINY).eval()


@pytest.fixture(scope="session")
def tiny_model(tiny_autoencoder: Autoencoder) -> PECMAE:
    torch.manual_seed(1)
    config = PrototypeHeadConfig(embedding_dim=16, num_classes=3, prototypes_per_class=2, adaptor_dim=32)
    return PECMAE(tiny_autoencoder, PrototypeHead(config, mean=0.1, std=0.7), LABELS)


@pytest.fixture(scope="session")
def tiny_model_dir(tiny_model: PECMAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.save_pretrained(directory)
    return directory


@pytest.fixture
def tone() -> np.ndarray:
    """1.1 seconds of a decaying chord at 24 kHz: two whole tiny segments and a part of one."""
    t = np.arange(26_400) / 24_000
    return (0.3 * np.exp(-t) * (np.sin(2 * np.pi * 220 * t) + np.sin(2 * np.pi * 331 * t))).astype(np.float32)
