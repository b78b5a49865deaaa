"""What a transition may hold at most, wherever it comes from: a message, a file, a bag."""

MAX_VECTOR_SIZE = 16_384  # more numbers in an observation were pictures
MAX_ACTION = 1.0 + 1e-6  # what scaling to the environment's bounds and back may leave of 1
# Nothing in SI units is larger here; some rows of 3e38 are enough to make every weight NaN.
MAX_MAGNITUDE = 1e9
