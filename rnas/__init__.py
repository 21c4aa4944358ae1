"""Search for compact image classifiers that withstand adversarial attack."""

__version__ = "0.1.0"
