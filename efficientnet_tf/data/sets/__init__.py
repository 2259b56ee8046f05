"""Labelled images by name: `sources.load`, their splits, and checks of them."""
