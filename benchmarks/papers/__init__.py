"""The tables of two papers, GradSentry and GradShield, in the small."""
