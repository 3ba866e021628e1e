# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from freqkit.data.image_set import ImageSet
from freqkit.engine.progress import Progress
from freqkit.results.removal_result import RemovalResult
from freqkit.results.search_result import SearchResult
from typing import Any
from typing import Literal
import os
import pathlib
import torch
import torch.nn.modules.module
import torch.utils.data.dataset
from freqkit.search.compare import Comparison as Comparison
from freqkit.search.gradient import GradientEstimate as GradientEstimate
from freqkit.search.plan import Plan as Plan
from freqkit.search.cells import removal_cells as removal_cells
from freqkit.search.cells import removal_masks as removal_masks

def compare_searchers(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    pool: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    held_out: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    out: str | pathlib.Path | None = None,
    progress: Progress | None = None,
    searchers: Sequence[str] = ('hfss', 'removal', 'gradient', 'greedy', 'evolve', 'learned', 'learned-class-loss'),
    efforts: dict[str, Sequence[int]] | None = None,
    per_class: int = 30,
    coverage: float = 0.05,
    seeds: int = 5,
    slow_seeds: int | None = None,
) -> Comparison: ...

def estimate_removal(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    domain: str = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    check: Callable[[], None] = ...,
    patch: int = 1,
    draws: int = 2,
    curvature: Literal['odds', 'sampled', 'signs'] = 'odds',
    seed: int = 0,
    batch_size: int = 64,
) -> GradientEstimate: ...

def evolve(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    coverage: float = 0.05,
    objective: Literal['tpr-fpr', 'class-loss'] = 'tpr-fpr',
    generations: int = 12,
    candidates: int = 16,
    elite: int = 4,
    guided: bool = True,
    seed: int = 0,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
) -> SearchResult | Plan: ...

def gradient(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    patch: int = 1,
    draws: int = 2,
    curvature: Literal['odds', 'sampled', 'signs'] = 'odds',
    rescore: float = 0.2,
    seed: int = 0,
    gradient_batch: int = 64,
    levels: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    level: float = 0.05,
    ties: Literal['include', 'exclude'] = 'include',
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
) -> RemovalResult | Plan: ...

def greedy(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    tolerance: int | None = None,
    coverage: float | None = None,
    order: Literal['inner-first', 'outer-first'] = 'inner-first',
    passes: int = 20,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
) -> SearchResult | Plan: ...

def hfss(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    preset: Literal['default', 'cvpr2025'] = 'default',
    stages: int | Sequence[int] | None = None,
    candidates: int | Sequence[int] = 500,
    parents_from: str | os.PathLike | None = None,
    keep: float | None = None,
    top: int = 10,
    seed: int | None = None,
    parents: Literal['any', 'per_class'] = 'any',
    elitism: bool = False,
    keep_dc: bool | None = None,
    risk: float = 0.0,
    stopping: Literal['never', 'certain'] = 'never',
    published_batch_size: int = 4000,
    published_order: bool | float | None = None,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
) -> SearchResult | Plan: ...

def learned(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    coverage: float = 0.05,
    objective: Literal['tpr-fpr', 'contrast', 'class-loss'] = 'tpr-fpr',
    steps: int = 120,
    own: int = 16,
    others: int = 16,
    levels: int | None = None,
    starts: str | Sequence[str] = ('wide', 'narrow'),
    rate: float = 0.1,
    seed: int = 0,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
) -> SearchResult | Plan: ...

def removal(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    patch: int = 1,
    preset: Literal['default', 'iccv2023', 'dfm_v2023'] = 'default',
    published_batch_size: int = 100,
    levels: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    level: float = 0.05,
    ties: Literal['include', 'exclude'] = 'include',
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
    dry_run: bool = False,
) -> RemovalResult | Plan: ...

