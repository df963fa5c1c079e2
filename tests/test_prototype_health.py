import json

import numpy as np
import pytest
import torch

from pecmae import PrototypeHead, PrototypeHeadConfig
from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.prototypes import data_spacing, prototype_health
from pecmae.prototypes.measures import duplicate_pairs, nearest_agreement, nearest_segments, purity

LABELS = ("a", "b")


def head_at(points: list[list[float]], reduction: str = "sum") -> PrototypeHead:
    config = PrototypeHeadConfig(
        embedding_dim=2, num_classes=2, prototypes_per_class=len(points) // 2, adaptor=False, distance_reduction=reduction
    )
    head = PrototypeHead(config).eval()
    with torch.no_grad():
        head.prototypes.copy_(torch.tensor(points))
    return head


def tracks_at(points: list[list[float]], tracks: list[int], labels: list[int]) -> EmbeddedTracks:
    names = tuple(f"t{n}.wav" for n in range(len(labels)))
    return EmbeddedTracks(
        torch.tensor(points), torch.tensor(tracks), torch.tensor(labels), names, 4.0 * torch.arange(len(points))
    )


def test_the_nearest_segments_are_of_distinct_tracks():
    distances = torch.tensor([[1.0, 9.0], [0.5, 8.0], [2.0, 1.0], [3.0, 1.0]])
    rows = nearest_segments(distances, torch.tensor([0, 0, 1, 2]), 2)
    assert rows.tolist()[0] == [1, 2]
    assert sorted(rows.tolist()[1]) == [2, 3]
    assert nearest_segments(distances, torch.tensor([0, 0, 1, 2]), 10).shape == (2, 3)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_health_of_prototypes_in_the_plane(reduction):
    # Class a around (0, 0), class b around (10, 0); neighbours of other tracks are 1 apart.
    data = tracks_at([[0.0, 0.0], [0.1, 0.0], [1.0, 0.0], [10.0, 0.0], [11.0, 0.0]], [0, 0, 1, 2, 3], [0, 0, 1, 1])
    # a 0 on its data, a 1 where only b lies; b 0 and b 1 the same, far from everything.
    head = head_at([[0.0, 0.0], [10.5, 0.0], [100.0, 0.0], [100.0, 0.1]], reduction)
    health = prototype_health(head, LABELS, data)
    unit = 1.0 if reduction == "sum" else 2**-0.5
    assert health.usage.tolist() == pytest.approx([0.6, 0.4, 0, 0])
    assert [health.name(m) for m in health.dead] == ["b 0", "b 1"]
    assert health.duplicates == ((2, 3),)
    assert health.purity.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert health.relative_distance[0] == 0
    assert health.relative_distance[1] == pytest.approx(9.5 * unit / health.spacing)
    near = health.nearest[1][0]
    assert (near.track, near.label, near.offset) in [("t2.wav", "b", 12.0), ("t3.wav", "b", 16.0)]
    assert near.distance == pytest.approx(0.5 * unit)


def test_spacing_is_the_distance_to_other_tracks():
    data = tracks_at([[0.0, 0.0], [0.1, 0.0], [3.0, 0.0]], [0, 0, 1], [0, 1])
    assert data_spacing(head_at([[0.0, 0.0], [1.0, 1.0]]), data) == pytest.approx(2.9)


def test_health_is_plain_values():
    data = tracks_at([[0.0, 0.0], [10.0, 0.0]], [0, 1], [0, 1])
    health = prototype_health(head_at([[0.0, 0.0], [10.0, 0.0]]), LABELS, data)
    found = json.loads(json.dumps(health.to_dict(np.array([1.0, 0.5]))))
    assert found["prototypes"][1]["sonification_survival"] == 0.5
    assert found["prototypes"][0]["nearest"][0] == {"track": "t0.wav", "label": "a", "offset": 0.0, "distance": 0.0}
    assert found["num_dead"] == found["num_duplicates"] == 0


def test_duplicates_need_no_data_and_may_be_of_two_classes():
    # A tenth of the median length, 10, is 1.
    assert duplicate_pairs(head_at([[0.0, 0.0], [10.0, 0.0], [0.9, 0.0], [20.0, 0.0]])) == ((0, 2),)
    assert duplicate_pairs(head_at([[0.0, 0.0], [10.0, 0.0], [1.1, 0.0], [20.0, 0.0]])) == ()
    assert duplicate_pairs(head_at([[0.0, 0.0], [10.0, 0.0]])) == ()


def test_purity_counts_the_ten_nearest():
    nearest = torch.tensor([[0] * 8 + [1] * 4, [0] * 12])
    assert purity(nearest, torch.tensor([0, 1])).tolist() == pytest.approx([0.8, 0.0])


def test_the_nearest_prototype_may_be_of_another_class_than_the_label():
    head = head_at([[0.0, 0.0], [1.0, 0.0]])
    z = torch.tensor([[0.1, 0.0], [0.2, 0.0], [0.9, 0.0], [0.6, 0.0]])
    assert nearest_agreement(head, z) == 1
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([0.3, 0.0]))  # gives the last segment to the first class
    assert nearest_agreement(head, z) == 0.75
