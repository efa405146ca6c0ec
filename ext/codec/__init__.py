"""Floor 1: columns of numbers and text to bytes and back."""
