"""The edge service: frames in over HTTP and from streams, verdicts and alerts out, no frame kept."""
