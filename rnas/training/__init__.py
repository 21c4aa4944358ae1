"""The host side of a run: checkpoints, logs, progress, interruption, and the steps they surround."""
