"""The actor: acts in an environment, queues and sends its transitions, takes new weights.

A policy of 256-unit layers is too small for a thread pool, and idle pool threads would take the
cores from the learner: this has to be said before NumPy is imported for the first time.
"""

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
