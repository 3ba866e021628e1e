# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from freqkit.data.image_set import ImageSet
from freqkit.ops.spectral_filter import BitMasks
from typing import Any
from typing import Literal
import os
import torch
import torch.nn.modules.module
import torch.utils.data.dataset
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
from freqkit.engine.entrance import enter as enter
from freqkit.engine.projection import project as project
from freqkit.engine.run_directory import status as status

def attack(
    network: torch.nn.modules.module.Module,
    pixels: torch.Tensor,
    targets: torch.Tensor,
    spec: Attack,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    answers: torch.Tensor,
    keys: Sequence[str],
    masks: torch.Tensor | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 64,
) -> Attacked: ...

def score(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    masks: BitMasks | torch.Tensor,
    *,
    reduction: str = 'class-mean',
    published_batch_size: int | None = None,
    progress: Progress | None = None,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
) -> Scores: ...

