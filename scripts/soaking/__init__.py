"""The soak: mixed work on servers that fail by a seed, held against what was acknowledged."""
