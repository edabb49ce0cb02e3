"""Criteria by what they need: of weights, gradients, activations, curvature. `pruning.scores` names them all."""
