"""Seeded junk for everything that reads outside bytes: only our own errors may come out."""
