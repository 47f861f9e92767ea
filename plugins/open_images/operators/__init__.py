"""Operators for the stages of a flow. To run stages elsewhere, add a subclass of `stage.StageOperator`."""
