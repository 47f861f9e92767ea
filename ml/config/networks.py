"""The names of the networks that a run can choose, for the form, the command line and the documentation."""

from __future__ import annotations

# The backbones of keras.applications that accept chips this small, listed because this module must not load Keras.
BACKBONES = (
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *(f"ResNet{depth}{version}" for version in ("", "V2") for depth in (50, 101, 152)),
    *("VGG16", "VGG19"),
)
NETWORK_NAMES = ("compact", "notebook", *(f"transfer:{name}" for name in BACKBONES))
