"""The data: reading it into one judged collection, and splitting that collection."""
