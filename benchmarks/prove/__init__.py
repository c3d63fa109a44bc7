"""How plan and proof of a whole rotation grow with a fleet."""
