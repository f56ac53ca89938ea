"""What is printed: progress while a sweep runs, the result at its end."""
