"""Reference edge runtime: frames in, gap boxes out, nothing kept."""
