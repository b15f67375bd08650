"""Results on stdout: the only place that prints them."""
