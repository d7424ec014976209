"""Every operation of the API from Python, blocking or not. It knows the models, and nothing of how they are kept."""
