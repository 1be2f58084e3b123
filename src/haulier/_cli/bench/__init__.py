"""``haulier bench``: measure limits, delays and retries with the real engine or on a virtual clock."""
