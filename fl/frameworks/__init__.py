"""Models of Keras, PyTorch and scikit-learn as clients."""
