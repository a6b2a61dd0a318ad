"""Restocking alerts: what they say, where they wait, and how they reach somebody."""
