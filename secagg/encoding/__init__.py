"""How numbers become field elements and come back; how arrays lie in one vector."""
