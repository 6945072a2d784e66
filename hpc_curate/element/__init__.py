"""What one element of an array does with its units."""
