"""The surface: arguments in, results and exit codes out."""
