"""Losses: pure functions of tensors. No config, no module, no device."""
