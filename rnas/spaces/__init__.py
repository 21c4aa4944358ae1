"""What can be searched: one module per family of architectures."""
