"""Images, decoded once: folders of files, published arrays, and synthetic sets with planted frequencies."""

from freqkit.data.any_images import Images, as_images
from freqkit.data.arrays import write_npy
from freqkit.data.class_lists import class_list
from freqkit.data.components import components
from freqkit.data.folder import write_image_folder
from freqkit.data.hars import HarsSet, hars
from freqkit.data.image_set import ImageSet
from freqkit.data.layouts import load_images, parts_of
from freqkit.data.preprocessing import Preprocessing
from freqkit.data.synthetic import read_truth, synthetic, write_truth
from freqkit.data.test_set import TestSet
from freqkit.data.test_sets.known import open_sets

__all__ = [
    "HarsSet",
    "ImageSet",
    "Images",
    "Preprocessing",
    "TestSet",
    "as_images",
    "class_list",
    "components",
    "hars",
    "load_images",
    "open_sets",
    "parts_of",
    "read_truth",
    "synthetic",
    "write_image_folder",
    "write_npy",
    "write_truth",
]
