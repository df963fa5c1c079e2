import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pecmae import ConfigError, PrototypeHead, PrototypeHeadConfig
from pecmae.core.configs import config_from_dict, config_to_dict
from pecmae.prototypes.fitting import normalisation_scalars
from pecmae.prototypes.head import Dropout, SingleTokenAdaptor
from pecmae.prototypes.initialisation import kmeans_prototypes
from pecmae.prototypes.losses import classification_loss, head_loss, prototype_loss
from pecmae.prototypes.published import convert_prototype_head


def config(**changes) -> PrototypeHeadConfig:
    return PrototypeHeadConfig(
        **{"embedding_dim": 6, "num_classes": 3, "prototypes_per_class": 2, "adaptor_dim": 16, **changes}
    )


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def test_adaptor_equals_torchs_layer_on_sequences_of_one():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, nhead=1, dim_feedforward=16, dropout=0.0, batch_first=True).eval()
    nn.init.normal_(layer.self_attn.in_proj_bias)
    state = {f"time_summarizer.layers.0.{name}": tensor for name, tensor in layer.state_dict().items()}
    state |= {"protos": torch.randn(6, 1, 6), "linear.weight": torch.ones(3, 6), "linear.bias": torch.zeros(3)}
    head = convert_prototype_head(state)
    torch.testing.assert_close(head.adaptor(state["protos"][:, 0]), layer(state["protos"])[:, 0])


@pytest.mark.parametrize(("reduction", "reduce"), [("mean", torch.mean), ("sum", torch.sum)])
def test_distances_are_reduced_squared_differences(z, reduction, reduce):
    head = PrototypeHead(config(distance_reduction=reduction, adaptor=False), mean=0.3, std=0.4)
    differences = ((z - 0.3) / 0.8)[:, None] - head.prototypes
    expected = reduce(differences.square(), -1)
    torch.testing.assert_close(head.distances(z), expected)
    torch.testing.assert_close(head.similarities(z), torch.exp(-expected))


def test_the_kernel_scale_narrows_similarities_in_answers_and_in_training_alike(z):
    plain, crisp = PrototypeHead(config()).eval(), PrototypeHead(config(kernel_scale=7.0)).eval()
    crisp.load_state_dict(plain.state_dict())
    torch.testing.assert_close(crisp.similarities(z), plain.similarities(z) ** 7)
    labels = torch.tensor([0, 1, 2, 0, 1])
    _, class_loss, own_loss = head_loss(crisp, z, labels)
    torch.testing.assert_close(class_loss, classification_loss(crisp(z), labels, crisp.config))
    torch.testing.assert_close(own_loss, head_loss(plain, z, labels)[2])  # of distances, which have no scale


def test_a_configuration_from_before_the_kernel_scale_means_one():
    values = config_to_dict(config())
    del values["kernel_scale"]
    assert config_from_dict(PrototypeHeadConfig, values, "x").kernel_scale == 1
    del values["temperature"]
    with pytest.raises(ConfigError, match="the setting 'temperature' is missing"):
        config_from_dict(PrototypeHeadConfig, values, "x")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_kernel_scale_that_is_none_is_refused(scale):
    with pytest.raises(ConfigError, match="kernel_scale"):
        config(kernel_scale=scale)


def test_distances_stay_exact_far_from_the_origin():
    head = PrototypeHead(config(adaptor=False))
    head.prototypes.data += 1000.0
    z = head.prototypes.detach()[:2] + torch.tensor([[0.01], [0.0]])
    own = head.distances(z)[[0, 1], [0, 1]]
    torch.testing.assert_close(own, torch.tensor([1e-4, 0.0]), atol=3e-6, rtol=0)


def test_linear_layer_starts_as_own_class():
    head = PrototypeHead(config())
    assert head.prototype_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert head.linear.weight.tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert head.linear.bias.tolist() == [0, 0, 0]


def test_kmeans_prototypes_are_class_major():
    centres = torch.tensor([[0.0, 0], [0, 10], [50, 0], [50, 10]])
    labels = torch.tensor([0, 0, 1, 1]).repeat_interleave(8)
    samples = centres.repeat_interleave(8, 0) + 0.1 * torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    found = kmeans_prototypes(samples, labels, prototype_counts=(2, 2))
    assert (found[:2, 0] < 1).all()
    assert (found[2:, 0] > 49).all()
    assert sorted(found[:, 1].round().abs().tolist()) == [0, 0, 10, 10]


def test_kmeans_names_a_class_with_too_few_samples():
    with pytest.raises(ValueError, match="Class 1 has 1 training segments, fewer than prototypes_per_class=2"):
        kmeans_prototypes(torch.randn(4, 2), torch.tensor([0, 0, 0, 1]), (2, 2))


def test_prototype_loss_is_the_papers_equation():
    distances = torch.tensor([[1.0, 9, 4, 4], [2, 3, 8, 8], [7, 7, 5, 6]])
    labels, prototype_labels = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert prototype_loss(distances, labels, prototype_labels) == (1 + 3 + 5 + 6) / 4


def test_prototype_loss_leaves_out_classes_that_are_not_in_the_batch():
    distances = torch.tensor([[1.0, 9, 0, 0]], requires_grad=True)
    loss = prototype_loss(distances, torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss == 5
    assert distances.grad.tolist() == [[0.5, 0.5, 0, 0]]


def test_classification_losses():
    logits, labels = torch.tensor([[0.2, 0.1, -0.3]]), torch.tensor([1])
    assert classification_loss(logits, labels, config()) == F.cross_entropy(logits / 0.1, labels)
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor([[0.0, 1, 0]]))
    assert classification_loss(logits, labels, config(classification_loss="binary_cross_entropy")) == expected


def test_head_loss_weighs_both_parts(z):
    head = PrototypeHead(config()).eval()
    loss, class_loss, own_loss = head_loss(head, z, torch.tensor([0, 1, 2, 0, 1]), weight=0.25)
    torch.testing.assert_close(loss, 0.25 * class_loss + 0.75 * own_loss)


def test_projected_prototypes_are_at_distance_zero():
    head = PrototypeHead(config(), mean=2.0, std=0.1).eval()
    torch.testing.assert_close(head.distances(head.projected_prototypes()).diagonal(), torch.zeros(6), atol=1e-5, rtol=0)


def test_scores_follow_the_loss():
    logits = torch.tensor([0.1, 0.0, -0.1])
    torch.testing.assert_close(PrototypeHead(config()).scores(logits), torch.tensor([1.0, 0, -1]).softmax(0))
    head = PrototypeHead(config(classification_loss="binary_cross_entropy"))
    torch.testing.assert_close(head.scores(logits), logits.sigmoid())


def test_normalisation_scalars_average_per_sample_statistics():
    embeddings = torch.tensor([[0.0, 2.0], [10.0, 14.0]])
    mean, std = normalisation_scalars(embeddings)
    assert mean == 6.5
    assert std == pytest.approx((2**0.5 + 8**0.5) / 2)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(301, 999), (64, 4096)])
def test_dropout_drops_its_share_and_scales_the_rest(p, shape):
    torch.manual_seed(0)
    dropout, x = Dropout(p), torch.full(shape, 3.0, requires_grad=True)
    y = dropout(x)
    kept = y != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=0.005)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 3 / (1 - p) if p < 1 else 0), rtol=1e-4, atol=0)
    # Four values share one draw of 64 bits.
    for lane in range(4):
        assert float(kept.flatten()[lane::4].float().mean()) == pytest.approx(1 - p, abs=0.01)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / 3)
    assert p in (0, 1) or not torch.equal(dropout(x), y)
    assert torch.equal(dropout.eval()(x), x)


def test_dropout_follows_the_seed():
    x = torch.ones(7, 5)
    masks = [torch.manual_seed(seed) and Dropout(0.5)(x) for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_dropout_acts_only_while_training():
    adaptor = SingleTokenAdaptor(6, 16)
    x = torch.ones(4, 6)
    assert not torch.equal(adaptor.train()(x), adaptor(x))
    assert torch.equal(adaptor.eval()(x), adaptor(x))


def test_a_choice_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="distance_reduction='max' is not known; choose one of mean, sum"):
        config(distance_reduction="max")
    with pytest.raises(ConfigError, match="prototypes_per_class=0 must be above 0"):
        config(prototypes_per_class=0)


def test_classes_may_have_different_numbers_of_prototypes_in_class_major_order(z):
    uneven = config(prototypes_per_class=(1, 3, 2))
    head = PrototypeHead(uneven)
    assert head.prototype_labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert head.linear.weight.T.argmax(1).tolist() == [0, 1, 1, 1, 2, 2]
    assert list(uneven.rows_of(1)) == [1, 2, 3]
    assert list(uneven.rows_of(2)) == [4, 5]
    assert head(z).shape == (5, 3)
    written = config_to_dict(uneven)
    assert written["prototypes_per_class"] == [1, 3, 2]
    assert config_from_dict(PrototypeHeadConfig, written, "x") == uneven
    assert config(prototypes_per_class=(2, 2, 2)) == config(prototypes_per_class=2)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], "2 numbers for 3 classes"),
        ([1, 0, 2], "must be above 0"),
        ([1, "a", 2], "should be of type int"),
        ([1, 2.5, 1], "type"),
    ],
)
def test_impossible_numbers_of_prototypes_are_refused(counts, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(PrototypeHeadConfig, config_to_dict(config()) | {"prototypes_per_class": counts}, "x")
