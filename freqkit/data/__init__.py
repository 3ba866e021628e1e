"""Images, decoded once: folders of files, published arrays, and synthetic sets with planted frequencies."""

from freqkit.data.arrays import write_npy
from freqkit.data.folder import write_image_folder
from freqkit.data.image_set import ImageSet
from freqkit.data.layouts import load_images, parts_of
from freqkit.data.preprocessing import Preprocessing
from freqkit.data.published_sets import TestSet, class_list, open_sets
from freqkit.data.synthetic import read_truth, synthetic, write_truth

__all__ = [
    "ImageSet",
    "Preprocessing",
    "TestSet",
    "class_list",
    "load_images",
    "open_sets",
    "parts_of",
    "read_truth",
    "synthetic",
    "write_image_folder",
    "write_npy",
    "write_truth",
]
