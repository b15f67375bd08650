"""Small real applications whose caches cachectl warms; not part of the installed package."""
