"""Used from compiled code only."""
