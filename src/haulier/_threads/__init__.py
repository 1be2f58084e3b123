"""Small tools for threads, which the engine and ``haulier.supervision`` share."""
