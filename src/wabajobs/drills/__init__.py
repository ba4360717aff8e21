"""Drills: incidents that are played against the product on the real path, each with its verdict."""
