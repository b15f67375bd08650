"""The strict door to the server, and the only room that knows the driver."""
