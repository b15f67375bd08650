"""Removing namespaces so that what is reported as gone is gone."""
