"""The sizes that configurations promise: what is allocated for a damaged one is bounded before it is built."""

from dataclasses import replace

import pytest
from torch import nn

from conftest import TINY
from pecmae import Autoencoder, AutoencoderConfig, PrototypeHead, PrototypeHeadConfig
from pecmae.hub.zoo import embedded_directory
from pecmae.model_files import read_model


def count(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, codec_decoder="istft", codec_upsampling_ratios=(4, 4, 4, 4), segment_seconds=0.512, istft_dim=32),
        replace(TINY, codec_num_lstm_layers=3, codec_decoder_num_filters=8),
        replace(TINY, num_encoder_layers=6, feed_forward_dim=256),
    ],
)
def test_no_autoencoder_has_more_parameters_than_its_configuration_says(config):
    assert count(Autoencoder(config)) <= config.most_parameters < 60 * count(Autoencoder(config))


@pytest.mark.parametrize("adaptor", [True, False])
def test_no_head_has_more_parameters_than_its_configuration_says(adaptor):
    config = PrototypeHeadConfig(embedding_dim=64, num_classes=5, prototypes_per_class=4, adaptor=adaptor, adaptor_dim=128)
    assert count(PrototypeHead(config)) <= config.most_parameters <= 2 * count(PrototypeHead(config))


def test_the_bound_is_tight_enough_at_the_sizes_that_people_use():
    # Otherwise loading takes a second longer, see `pecmae.core.weights.filled`.
    config, head = read_model(embedded_directory())
    assert config.head.most_parameters < 8 * count(head)
    assert AutoencoderConfig().most_parameters < 8 * 92_000_000
