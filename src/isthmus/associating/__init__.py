"""Associate: two modalities tested pair by pair, what survives, the network of it, and the report."""
