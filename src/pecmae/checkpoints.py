"""Published checkpoints as our models: the converters of all rooms behind one door."""

from pecmae.autoencoder.model import convert_autoencoder as convert_autoencoder
from pecmae.autoencoder.model import convert_autoencoder_files as convert_autoencoder_files
from pecmae.autoencoder.published import convert_codec as convert_codec
from pecmae.prototypes.published import convert_prototype_head as convert_prototype_head
