"""Images, decoded once: folders of files and synthetic sets with planted frequencies."""

from freqkit.data.folder import load_images, write_image_folder
from freqkit.data.image_set import ImageSet
from freqkit.data.synthetic import synthetic

__all__ = ["ImageSet", "load_images", "synthetic", "write_image_folder"]
