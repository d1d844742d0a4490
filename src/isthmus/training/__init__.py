"""The one training loop, its settings, checkpoints and devices."""
