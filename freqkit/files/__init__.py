"""Files, below everything: written whole or not at all, read through one reader per format."""
