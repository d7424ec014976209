"""What every layer may use: configuration, errors, validation, logging, signatures, ids."""
