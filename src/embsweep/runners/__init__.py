"""Where trials run: in this process or on Ray, behind one protocol. Only here is Ray imported."""
