"""``haulier get``: URLs in, files out."""
