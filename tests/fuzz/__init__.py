"""Files as nobody writes them, thrown at whatever reads files from elsewhere: python -m tests.fuzz."""
