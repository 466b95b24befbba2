"""Publishing: accept or refuse, batch, write, confirm."""
