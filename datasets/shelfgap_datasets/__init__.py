"""Shelf datasets: contract, intake, checks, splits, synthetic shelves, augmentation."""
