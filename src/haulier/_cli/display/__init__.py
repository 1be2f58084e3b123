"""The output of ``haulier get`` and ``demo``: lines, a live table, or JSON lines."""
