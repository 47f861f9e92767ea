"""From a release of Open Images to a trained and evaluated classifier of perceived gender presentation."""

import os

# Before TensorFlow is loaded. By itself it takes oneDNN's kernels only where the processor has AVX-512; where it has
# AVX2 alone they train the compact network two to three times as fast as its own.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
