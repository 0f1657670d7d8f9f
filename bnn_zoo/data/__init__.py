"""Arrays, tables, images and torch data sets in, checked tensors and minibatches out."""

from .arrays import choose_device, tensors
from .idx import idx, mnist_like
from .images import Augmented, Images, standardise
from .items import collate, exposed, size_of
from .minibatches import Minibatches, TensorRows, minibatches
from .tabular import EMBEDDED, Table, table
from .vision import DATASETS, image_folder, images
from .workers import Workers

__all__ = [
    "DATASETS",
    "EMBEDDED",
    "Augmented",
    "Images",
    "Minibatches",
    "Table",
    "TensorRows",
    "Workers",
    "choose_device",
    "collate",
    "exposed",
    "idx",
    "image_folder",
    "images",
    "minibatches",
    "mnist_like",
    "size_of",
    "standardise",
    "table",
    "tensors",
]
