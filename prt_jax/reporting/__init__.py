"""Reports and their pictures, for programs and for people."""
