"""From a released model to its pictures and back, over all model versions."""
