"""The commands of `rnas`, one module a verb."""
