"""How the residuals of an integer block are packed. Nothing of it is visible to Python."""
