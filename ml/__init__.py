"""Train and evaluate a classifier of perceived gender presentation on a release of Open Images."""

import os

# Must be set before TensorFlow is loaded. Its default is to use oneDNN's kernels only on processors with AVX-512, but
# with AVX2 alone they also train the compact network two to three times as fast as TensorFlow's own kernels.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Must be set before Keras is loaded. Its other backends cannot run this project's networks; the variable also overrides
# the user's ~/.keras/keras.json. TensorFlow would take the old Keras for its own, which is not installed.
USERS_KERAS_BACKEND = os.environ.get("KERAS_BACKEND")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.pop("TF_USE_LEGACY_KERAS", None)
