"""The Muon optimizer for convolutional networks."""

from __future__ import annotations

import math

import keras
from keras import ops


class Muon(keras.optimizers.Muon):
    """Keras' Muon, which handles only matrices, extended to the kernels of convolutions (Jordan et al. 2024).

    Muon replaces a kernel's momentum with the nearest matrix whose singular values are all about 1, so that the network
    learns rare directions as fast as common ones. A kernel of shape (height, width, in, out) is treated as a matrix of
    (height * width * in, out), as in the author's runs on images (https://kellerjordan.github.io/posts/muon/). AdamW
    updates all other weights. These include the kernels of dense layers, and of depthwise convolutions, whose filters
    each see a different channel and share no directions.

    Updates are scaled to AdamW's usual size (Liu et al. 2025, arXiv:2502.16982), so the same learning rate serves both.

    Args:
        learning_rate: A rate or a schedule.
        weight_decay: Decoupled decay of all weights that are not excluded.
    """

    def __init__(
        self, learning_rate: float | keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, adam_weight_decay=weight_decay)

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        # A depthwise kernel is (height, width, in, 1) in a DepthwiseConv2D, and (height, width, 1, out) in a Conv2D
        # with one group per channel, as in ConvNeXt. A plain kernel on one channel looks alike, but chips have three.
        return len(variable.shape) != 4 or 1 in variable.shape[-2:]

    def _muon_update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, lr: keras.KerasTensor, m: keras.Variable
    ) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        outputs = variable.shape[-1]
        inputs = math.prod(variable.shape[:-1])
        matrix = ops.reshape(gradient + self.momentum * m, (inputs, outputs))
        update = self.lr_adjust(self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(lr * update, variable.shape))
