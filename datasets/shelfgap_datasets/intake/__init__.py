"""Readers of annotation formats: each turns files of a source folder into `model.Reading`."""
