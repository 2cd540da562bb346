"""May the data be trained on: the steps, the policy, the verdict and the accepted rows."""
