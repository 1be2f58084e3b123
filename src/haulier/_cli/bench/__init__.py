"""``haulier bench``: what limits, delays and retries come to, for real or on a virtual clock."""
