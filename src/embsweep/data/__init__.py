"""Where pairs come from, how they become one judged collection, and how that is split."""
