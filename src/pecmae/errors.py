"""What can go wrong, as few classes: every message is one sentence that names the input and says what to do."""


class PecmaeError(Exception):
    """Root of the package's own errors."""


class AudioError(PecmaeError, ValueError):
    """Audio that cannot be used."""


class ConfigError(PecmaeError, ValueError):
    """A configuration that is incomplete, contradictory or of a newer version."""


class CheckpointError(PecmaeError, ValueError):
    """Weights that are damaged or of another model."""


class TrainingError(PecmaeError, ArithmeticError):
    """Training that came to no usable weights."""


class HubError(PecmaeError, OSError):
    """A model that cannot be found or fetched."""


class AudioWarning(UserWarning):
    """Audio that is used although something is wrong with it."""
