"""Datasets handed to labelling tools, and corrections taken back."""
