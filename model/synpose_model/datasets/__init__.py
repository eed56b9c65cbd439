"""Multi-view datasets with 3D truth, read in the layouts in which they are distributed. Free of torch.

The data themselves are not here: each has a licence that its users agree to, and is downloaded from its makers.
"""

from synpose_model.datasets.human36m import Human36M
from synpose_model.datasets.mpi_inf_3dhp import MpiInf3dhp
from synpose_model.datasets.open import DATASETS, open_dataset
from synpose_model.datasets.panoptic import Panoptic
from synpose_model.datasets.sequence import Dataset, MultiViewSequence, Split

__all__ = [
    "DATASETS",
    "Dataset",
    "Human36M",
    "MpiInf3dhp",
    "MultiViewSequence",
    "Panoptic",
    "Split",
    "open_dataset",
]
