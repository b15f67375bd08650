"""Loading or computing what an application will ask for, and proving that it is there."""
