"""Arrays, tables, images and torch data sets in, checked tensors and minibatches out."""

from .arrays import choose_device, tensors
from .idx import idx, mnist_like
from .images import Augmented, Images, standardise
from .minibatches import Minibatches, minibatches
from .tabular import EMBEDDED, Table, table
from .vision import DATASETS, image_folder, images

__all__ = [
    "DATASETS",
    "EMBEDDED",
    "Augmented",
    "Images",
    "Minibatches",
    "Table",
    "choose_device",
    "idx",
    "image_folder",
    "images",
    "minibatches",
    "mnist_like",
    "standardise",
    "table",
    "tensors",
]
