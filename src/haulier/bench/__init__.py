"""What comes of so many slots, delays and downloads: the same question to a real engine and to a virtual clock."""
