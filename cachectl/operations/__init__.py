"""One async operation a verb: a Store and plain arguments in, a frozen report out."""
