"""Files, weights, devices: what knows nothing of music."""
