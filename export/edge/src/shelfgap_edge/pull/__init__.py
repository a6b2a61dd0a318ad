"""Updates for devices: a signed index says what to run, files come by their hash, two slots hold old and new."""
