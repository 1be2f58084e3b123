"""How ``haulier get`` shows what happens: lines, a live table, JSON lines."""
