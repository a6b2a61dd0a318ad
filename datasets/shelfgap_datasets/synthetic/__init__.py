"""Synthetic shelves: licence-free stills of supermarket fixtures with exact boxes."""
