"""How well harmful rows are told from honest ones, by the gate and by the baselines."""
