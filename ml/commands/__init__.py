"""Commands of `python -m ml` that are more than a call. They check their arguments before they import what is slow."""
