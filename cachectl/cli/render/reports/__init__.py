"""Report files of a warm, for reviewers, CI systems, monitoring and programs."""
