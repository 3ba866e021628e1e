"""Frequency masks: candidate families, symmetry, coverage, identity, shapes and files."""

import importlib

from freqkit.registry import DFM_FILES, find

_PUBLIC = {
    "BitMasks": "bits",
    "pack": "bits",
    "unpack": "bits",
    "select": "bits",
    "concat": "bits",
    "refine": "bits",
    "union": "bits",
    "intersection": "bits",
    "complement": "bits",
    "FAMILIES": "grids",
    "stage_cells": "grids",
    "cells_of_stage": "grids",
    "cells_drawn": "grids",
    "families_of": "grids",
    "Candidates": "families",
    "candidates": "families",
    "random_alike": "alike",
    "Coverage": "symmetry",
    "canonical": "symmetry",
    "centred": "symmetry",
    "content_hash": "symmetry",
    "coverage": "symmetry",
    "dc_weight": "symmetry",
    "effective": "symmetry",
    "hermitian": "symmetry",
    "keeps_dc": "symmetry",
    "partner": "symmetry",
    "set_dc": "symmetry",
    "to_dense": "symmetry",
    "uncentred": "symmetry",
    "unique": "symmetry",
    "band": "shapes",
    "disc": "shapes",
    "frequencies": "shapes",
    "high_pass": "shapes",
    "low_pass": "shapes",
    "radius": "shapes",
    "ring": "shapes",
    "wedge": "shapes",
}

__all__ = sorted({*_PUBLIC, *DFM_FILES})  # DFM files stand with the results, and are offered here as before


def __getattr__(name):
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"freqkit.masks.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    found = find(DFM_FILES, name)
    if found is not None:
        return found
    raise AttributeError(f"module 'freqkit.masks' has no attribute {name!r}")


def __dir__():
    return __all__
