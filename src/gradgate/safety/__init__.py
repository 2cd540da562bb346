"""A probing set: what an aligned model must refuse, and how far it is from complying."""
