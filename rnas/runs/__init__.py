"""The published systems, as stages over one work directory."""
