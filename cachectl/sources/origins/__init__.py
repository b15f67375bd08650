"""Where values are computed: a Python callable, here or on other machines, or a service over HTTP."""
