"""What each path answers. Every file ends with its table `ROUTES`, which app.py joins."""
