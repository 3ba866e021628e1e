# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Sequence
from freqkit.data.image_set import ImageSet
from freqkit.ops.spectral_filter import BitMasks
from typing import Any
import torch
import torch.nn.modules.module
from freqkit.engine.attacks import Attack as Attack
from freqkit.engine.attacks import Attacked as Attacked
from freqkit.engine.projection import Costs as Costs
from freqkit.errors import Interrupted as Interrupted
from freqkit.engine.journal import Journal as Journal
from freqkit.engine.progress import Progress as Progress
from freqkit.engine.run_directory import RunDirectory as RunDirectory
from freqkit.engine.scores import Scorer as Scorer
from freqkit.results.scores import Scores as Scores
from freqkit.engine.progress import Silent as Silent
from freqkit.engine.attacks import attack as attack
from freqkit.engine.projection import project as project
from freqkit.engine.run_directory import status as status

def score(
    model: torch.nn.modules.module.Module,
    images: ImageSet,
    masks: BitMasks | torch.Tensor,
    *,
    domain: str = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: str = 'auto',
    spectra: str = 'float32',
    reduction: str = 'class-mean',
    published_batch_size: int | None = None,
    progress: Progress | None = None,
) -> Scores: ...

