"""Every rule of haulier, pure: no thread, no clock, no random, no I/O, no pykka."""
