"""Settings: typed, read from YAML with lines, resolved to one server."""
