"""The dataset card: what is in a dataset, where it comes from and what is wrong with it, as one page."""
