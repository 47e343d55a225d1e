"""What OpenVINO knows and does not convert from ONNX by itself."""

from typing import Any


def extensions() -> list[Any]:
    """For ``openvino.convert_model``."""
    from openvino import opset8
    from openvino.frontend.onnx import ConversionExtension

    def deform_conv(node: Any) -> list:
        features, weight, offset, *rest = (
            node.get_input(index) for index in range(node.get_input_size())
        )
        pads = node.get_attribute('pads')
        mask = rest[1] if len(rest) > 1 else None
        found = opset8.deformable_convolution(
            features,
            offset,
            weight,
            node.get_attribute('strides'),
            pads[:2],
            pads[2:],
            node.get_attribute('dilations'),
            mask=mask,
            group=node.get_attribute('group'),
            deformable_group=node.get_attribute('offset_group'),
            bilinear_interpolation_pad=True,
        )
        if rest:  # the bias
            each = opset8.constant([1, -1, 1, 1])
            bias = opset8.reshape(rest[0], each, special_zero=False)
            found = opset8.add(found, bias)
        return found.outputs()

    return [ConversionExtension('DeformConv', deform_conv)]
