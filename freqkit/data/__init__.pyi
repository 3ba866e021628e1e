# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Literal
import os
from freqkit.data.hars import HarsSet as HarsSet
from freqkit.data.image_set import ImageSet as ImageSet
Images: Any
from freqkit.data.preprocessing import Preprocessing as Preprocessing
from freqkit.data.test_set import TestSet as TestSet
from freqkit.data.any_images import as_images as as_images
from freqkit.data.class_lists import class_list as class_list
from freqkit.data.components import components as components
from freqkit.data.hars import hars as hars
from freqkit.data.test_sets.known import open_sets as open_sets
from freqkit.data.layouts import parts_of as parts_of
from freqkit.data.synthetic import read_truth as read_truth
from freqkit.data.synthetic import synthetic as synthetic
from freqkit.data.folder import write_image_folder as write_image_folder
from freqkit.data.arrays import write_npy as write_npy
from freqkit.data.synthetic import write_truth as write_truth

def load_images(
    root: str | os.PathLike,
    *,
    image_size: int | None = None,
    resize: Literal['own', 'squash', 'center-crop'] = 'own',
    model: Any = None,
    layout: str = 'auto',
    part: Literal['train', 'val', 'test'] | None = None,
    classes: Sequence[str] | str | os.PathLike | None = None,
    limit_per_class: int | None = None,
    split_fraction: float | None = None,
    split_order: Literal['path', 'published'] = 'path',
    seed: int = 0,
    on_bad_image: Literal['error', 'skip'] = 'error',
    npy_floats: Literal['round', 'published'] = 'round',
    cache: str | os.PathLike | None = 'auto',
    cache_budget: int | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ImageSet: ...

