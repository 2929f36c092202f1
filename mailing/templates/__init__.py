"""The operator's templates, filled in with variables that are not trusted."""
