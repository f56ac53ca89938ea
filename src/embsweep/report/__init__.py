"""What a person sees: the live table while a sweep runs, the result at its end."""
