"""Operators on images and spectra."""

from freqkit.ops.spectral_filter import BitMasks, Spectrum, spectral_filter, spectrum

__all__ = ["BitMasks", "Spectrum", "spectral_filter", "spectrum"]
