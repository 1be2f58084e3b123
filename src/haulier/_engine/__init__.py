"""The engine behind ``haulier.DownloadEngine``. Private: import from ``haulier`` instead."""
