# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from freqkit.data.image_set import ImageSet
from freqkit.data.test_set import TestSet
from freqkit.engine.progress import Progress
from freqkit.results.dfm_files import DfmFile
from freqkit.results.removal_result import RemovalResult
from freqkit.results.search_result import SearchResult
from typing import Any
from typing import Literal
import numpy
import os
import pathlib
import torch
import torch.nn.modules.module
import torch.utils.data.dataset
from freqkit.measures.adcs import AdcsResult as AdcsResult
from freqkit.measures.amplitude_phase import AmplitudePhaseResult as AmplitudePhaseResult
from freqkit.engine.attacks import Attack as Attack
from freqkit.engine.attacks import Attacked as Attacked
from freqkit.measures.attribute.result import AttributeResult as AttributeResult
from freqkit.measures.band_stop import BandStopResult as BandStopResult
from freqkit.measures.adcs import ClassSpectra as ClassSpectra
from freqkit.measures.critical_band import CriticalBandResult as CriticalBandResult
from freqkit.measures.evaluation.result import EvaluationResult as EvaluationResult
from freqkit.measures.feature_separation import FeatureSeparationResult as FeatureSeparationResult
from freqkit.measures.fourier_heatmap import FourierHeatmapResult as FourierHeatmapResult
from freqkit.measures.gradient_spectrum import GradientSpectrumResult as GradientSpectrumResult
from freqkit.measures.human_comparison.result import HumanComparisonResult as HumanComparisonResult
from freqkit.measures.layer_spectra import LayerSpectraResult as LayerSpectraResult
from freqkit.measures.pass_curves import PassCurvesResult as PassCurvesResult
from freqkit.measures.rates import RatesResult as RatesResult
from freqkit.measures.recovery import Recovery as Recovery
from freqkit.measures.selection import SelectedOnTestSet as SelectedOnTestSet
from freqkit.measures.shape_bias import ShapeBiasResult as ShapeBiasResult
from freqkit.measures.slices.result import SlicesResult as SlicesResult
from freqkit.measures.smoothness import SmoothnessResult as SmoothnessResult
from freqkit.measures.correlation import StudyResult as StudyResult
from freqkit.measures.triplets import TripletsResult as TripletsResult
from freqkit.measures.critical_band.fit import critical_band_fit as critical_band_fit
from freqkit.measures.evaluation.groups import curves as curves
from freqkit.measures.human_comparison.kappa import error_consistency as error_consistency
from freqkit.measures.smoothness import kernel_roughness as kernel_roughness
from freqkit.measures.evaluation.groups import mean_corruption_error as mean_corruption_error
from freqkit.statistics import newcombe as newcombe
from freqkit.measures.human_comparison import read_raw as read_raw
from freqkit.measures.recovery import recovery as recovery
from freqkit.measures.pass_curves.filters import square_filter as square_filter
from freqkit.statistics import wilson as wilson

def adcs(
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    progress: Progress | None = None,
    classes: Sequence[str] | None = None,
    preset: Literal['default', 'iccv2023'] = 'default',
    channel: Literal['grey', 'mean', 'per'] = 'grey',
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 64,
) -> AdcsResult: ...

def amplitude_phase(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    domain: Literal['pixels', 'normalised'] = 'pixels',
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
) -> AmplitudePhaseResult: ...

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

def attribute(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any] | torch.Tensor | numpy.ndarray,
    *,
    steps: int = 16,
    rounds: int = 40,
    points: int = 16,
    shown: int = 8,
    quantile: float = 0.8,
    confidence: float = 0.95,
    resamples: int = 1000,
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
) -> AttributeResult: ...

def band_stop(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    progress: Progress | None = None,
    edges: Sequence[float] | None = None,
    remove: int | Sequence[Sequence[int]] = 2,
    keep_dc: bool = True,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
) -> BandStopResult: ...

def critical_band(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    answers: Literal['classes', 'sixteen'] = 'classes',
    reference: Literal['no-noise', 'clean'] = 'no-noise',
    threshold: float = 0.5,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 1000,
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
) -> CriticalBandResult: ...

def evaluate(
    models: Sequence[tuple[str, torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor] | Callable[[], torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor]]]],
    sets: Sequence[TestSet],
    dfm: DfmFile | str | pathlib.Path | None = None,
    *,
    device: str | torch.device | None = None,
    workers: int | None = None,
    failures: Sequence[dict] = (),
    attacks: Sequence[Attack] = (),
    generated: Sequence[tuple[str, int]] = (),
    base: str | None = None,
    preset: Literal['default', 'cvpr2025', 'cvpr2024'] = 'default',
    image_size: int | None = None,
    resize: Literal['own', 'squash', 'center-crop'] | None = None,
    classes: Sequence[str] | None = None,
    cross: float | None = None,
    thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    confidence: float = 0.95,
    on_bad_image: Literal['error', 'skip'] = 'error',
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 32,
    dtype: str | torch.dtype | None = None,
    form: str = 'folded',
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Any = None,
) -> EvaluationResult: ...

def feature_separation(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    radii: Sequence[float] | None = None,
    boundary: Literal['strict', 'inclusive'] = 'strict',
    encoding: Literal['raw', 'clip', 'maxnorm', 'minmax', 'uint8wrap'] = 'raw',
    layer: str | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    domain: Literal['pixels', 'normalised'] = 'pixels',
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
) -> FeatureSeparationResult: ...

def fourier_heatmap(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    norm: float = 4.0,
    bins: int | None = None,
    race: float | None = None,
    method: Literal['exact', 'gradient'] = 'exact',
    clip: bool = True,
    seed: int = 0,
    domain: Literal['pixels'] = 'pixels',
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
) -> FourierHeatmapResult: ...

def gradient_spectrum(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    rings: Literal['centred', 'legacy'] = 'centred',
    checkpoints: str | os.PathLike | None = None,
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
) -> GradientSpectrumResult: ...

def human_comparison(
    models: Sequence[tuple[str, torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor] | Callable[[], torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor]]]],
    sets: Sequence[TestSet],
    observers: Sequence[str | pathlib.Path] = (),
    *,
    image_size: int | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
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
) -> HumanComparisonResult: ...

def layer_spectra(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    progress: Progress | None = None,
    layers: Sequence[str] | None = None,
    line: Literal['ring', 'diagonal'] = 'ring',
    window: Literal['none', 'hann'] = 'none',
    tokens: int | None = None,
    channels: Literal['auto', 'first', 'last'] = 'auto',
    seed: int = 0,
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
) -> LayerSpectraResult: ...

def pass_curves(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    preset: Literal['default', 'cvpr2024', 'cvpr2020'] = 'default',
    filters: Sequence[str] | None = None,
    cutoffs: Sequence[float] | None = None,
    radii: Sequence[float] | None = None,
    shape: Literal['disc', 'square'] | None = None,
    boundary: Literal['strict', 'inclusive'] | None = None,
    dc: Literal['keep', 'remove'] | None = None,
    encoding: Literal['raw', 'clip', 'maxnorm', 'minmax', 'uint8wrap'] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    domain: Literal['pixels', 'normalised'] = 'pixels',
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
) -> PassCurvesResult: ...

def rates(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    dfm: DfmFile | SearchResult | RemovalResult | str | pathlib.Path,
    *,
    progress: Progress | None = None,
    interval: Literal['wilson', 'bootstrap'] = 'wilson',
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    null: int = 20,
    confusion: Literal['auto', True, False] = 'auto',
    domain: Literal['normalised', 'pixels'] = 'normalised',
    class_index: Sequence[int] | torch.Tensor | None = None,
    batch_size: int | str = 'auto',
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int = 1073741824,
    form: Literal['auto', 'eager', 'folded', 'compiled'] = 'auto',
    spectra: Literal['float32', 'float16'] = 'float32',
) -> RatesResult: ...

def shape_bias(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    cues: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    ordinary: Any = None,
    suppress: Sequence[str] = ('patches:4', 'patches:8', 'gaussian:2', 'bilateral:2:0.2', 'grey'),
    confidence: float = 0.95,
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
) -> ShapeBiasResult: ...

def slices(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    clusters: int = 6,
    bands: int = 6,
    profile: Literal['energy', 'share'] = 'energy',
    drift: bool = True,
    layer: str | None = None,
    radii: Sequence[float] | None = None,
    restarts: int = 10,
    confidence: float = 0.95,
    resamples: int = 1000,
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
) -> SlicesResult: ...

def smoothness(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    rho: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 1.0),
    normalise: Literal['no', 'yes', 'both'] = 'both',
    attacks: Sequence[str] = ('fgsm:eps=8', 'pgd:eps=8:steps=10'),
    confidence: float = 0.95,
    domain: Literal['pixels', 'normalised'] = 'pixels',
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
) -> SmoothnessResult: ...

def study(
    rows: Iterable[dict],
    *,
    groups: Mapping[str, Sequence[str]] | str | pathlib.Path | None = None,
    apart: Mapping[str, str] | None = None,
    families: Mapping[str, Sequence[str]] | str | pathlib.Path | None = None,
    added: Iterable[dict] = (),
    resamples: int = 10000,
    confidence: float = 0.95,
    alpha: float = 0.05,
    leave_out: int = 3,
    seed: int = 0,
    mend: Sequence[str] = (),
) -> StudyResult: ...

def triplets(
    model: torch.nn.modules.module.Module | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet | str | os.PathLike | tuple[Any, Any] | torch.utils.data.dataset.Dataset | Iterable[Any],
    *,
    r: float = 12.0,
    boundary: Literal['strict', 'inclusive'] = 'strict',
    encoding: Literal['raw', 'clip', 'maxnorm', 'minmax', 'uint8wrap'] = 'raw',
    rank: int | None = None,
    examples: int = 6,
    confidence: float = 0.95,
    domain: Literal['pixels', 'normalised'] = 'pixels',
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
) -> TripletsResult: ...

