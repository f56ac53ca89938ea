"""Where trials run: Ray Tune or this process, under one contract. Only this room knows Ray."""
