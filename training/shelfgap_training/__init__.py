"""The gap detector: network, losses, Lightning module, metrics, tracking."""
