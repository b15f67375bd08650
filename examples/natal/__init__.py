"""A natal chart service: a computation worth caching, and the requests to warm its cache with."""
