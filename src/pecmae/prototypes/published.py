"""From the published prototype network's checkpoint to our head."""

from pecmae.core.weights import StateDict, StrictTensors, filled, shape_errors_named
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.head import PrototypeHead


@shape_errors_named("prototype checkpoint")
def convert_prototype_head(state_dict: StateDict, *, mean: float = 0.0, std: float = 0.5) -> PrototypeHead:
    """Build a prototype head from the published network's state dict.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        With `protos` (M, 1, D), `linear.*` and, for the adaptor, `time_summarizer.layers.0.*`.
    mean, std : float
        Scalars of the training set; without them the normalisation is the identity.

    Returns
    -------
    PrototypeHead
        In evaluation mode, with the published code's distance and loss.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown or of an unexpected shape.
    """
    source = StrictTensors(state_dict, "prototype checkpoint")
    prototypes, weight = source.take("protos"), source.take("linear.weight")
    num_classes = weight.shape[0]
    converted = {"prototypes": prototypes[:, 0], "linear.weight": weight, "linear.bias": source.take("linear.bias")}
    layer, width = "time_summarizer.layers.0", prototypes.shape[-1]
    adaptor = any(name.startswith(layer) for name in state_dict)
    if adaptor:
        # Of the stacked query, key and value rows only the values matter to a sequence of one.
        for leaf in ("weight", "bias"):
            converted[f"adaptor.value.{leaf}"] = source.take(f"{layer}.self_attn.in_proj_{leaf}")[2 * width :]
            converted[f"adaptor.out.{leaf}"] = source.take(f"{layer}.self_attn.out_proj.{leaf}")
            for name in ("linear1", "linear2", "norm1", "norm2"):
                converted[f"adaptor.{name}.{leaf}"] = source.take(f"{layer}.{name}.{leaf}")
    source.finish()
    config = PrototypeHeadConfig(
        embedding_dim=width,
        num_classes=num_classes,
        prototypes_per_class=len(prototypes) // num_classes,
        adaptor=adaptor,
        adaptor_dim=len(converted["adaptor.linear1.bias"]) if adaptor else PrototypeHeadConfig.adaptor_dim,
    )
    return filled(
        lambda: PrototypeHead(config, mean=mean, std=std),
        converted,
        "prototype checkpoint",
        most_parameters=config.most_parameters,
    ).eval()
