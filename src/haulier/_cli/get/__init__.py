"""``haulier get``: download URLs to files."""
