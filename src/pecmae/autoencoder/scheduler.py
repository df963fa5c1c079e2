"""The sampler of the v-diffusion in the manner of diffusers; what it computes is in `pecmae.autoencoder.sampling`."""

from dataclasses import dataclass
from typing import ClassVar

from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Generator, Tensor

from pecmae.autoencoder.sampling import VDiffusionSolver


@dataclass
class VDiffusionSchedulerOutput(BaseOutput):
    """One step's result: the sample at the next sigma, and the denoised estimate it was made from (both the sample's shape)."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class VDiffusionScheduler(VDiffusionSolver, SchedulerMixin, ConfigMixin):
    """Deterministic samplers for v-prediction over a continuous sigma that runs from 1 to 0.

    Parameters
    ----------
    algorithm_type : {"multistep", "dpmsolver++", "ddim"}
        "ddim" is the published sampler (first order). The others are of second order: for the same cost a step they need fewer
        steps to come as near to the exact trajectory, "multistep" the fewest. "dpmsolver++" is that of Lu et al. 2022 (arXiv
        2211.01095).
    """

    order = 1
    init_noise_sigma = 1.0
    _compatibles: ClassVar[list[str]] = []

    @register_to_config
    def __init__(self, algorithm_type: str = "multistep") -> None:
        super().__init__(algorithm_type)

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """Return `sample` unchanged: the network takes it as it is."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: Generator | None = None,
        return_dict: bool = True,
    ) -> VDiffusionSchedulerOutput | tuple[Tensor, Tensor]:
        """Go from `timestep` to the next sigma.

        Parameters
        ----------
        model_output : Tensor [shape=(B, ...)]
            The network's v at `timestep`.
        timestep : float
            The current entry of `timesteps`; steps are taken in their order.
        sample : Tensor [shape=(B, ...)]
            x at `timestep`.
        generator : torch.Generator, optional
            Unused (all solvers are deterministic); part of the schedulers' common signature.
        """
        prev_sample, x0 = self.advance(model_output, timestep, sample)
        if not return_dict:
            return prev_sample, x0
        return VDiffusionSchedulerOutput(prev_sample=prev_sample, pred_original_sample=x0)
