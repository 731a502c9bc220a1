"""What is measured of a restorer, how it is run over images, and where the numbers are kept."""
