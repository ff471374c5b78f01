"""Images in memory: where they come from, how they are split, how they become batches."""

from sweeps.data.batches import Batches
from sweeps.data.cache import cached
from sweeps.data.dataset import Dataset, Source, Split, prepare

__all__ = ["Batches", "Dataset", "Source", "Split", "cached", "prepare"]
