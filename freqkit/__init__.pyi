# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).
from freqkit.ops import BitMasks as BitMasks
from freqkit.ops import Spectrum as Spectrum
from freqkit.measures import attribute as attribute
from freqkit.search import hfss as hfss
from freqkit.search import learned as learned
from freqkit.data import load_images as load_images
from freqkit.models import load_model as load_model
from freqkit.measures.profile import profile as profile
from freqkit.engine import score as score
from freqkit.ops import spectral_filter as spectral_filter
from freqkit.ops import spectrum as spectrum
from freqkit.models import wrap as wrap
from freqkit import ops as ops
from freqkit import masks as masks
from freqkit import models as models
from freqkit import data as data
from freqkit import engine as engine
from freqkit import search as search
from freqkit import measures as measures
from freqkit import training as training
from freqkit import results as results
from freqkit import report as report
from freqkit import errors as errors

__version__: str
