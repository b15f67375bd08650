"""Where entries and requests come from, and where values are computed."""
