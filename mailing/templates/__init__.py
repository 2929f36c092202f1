"""The operator's templates, filled in without trust in what they are given."""
