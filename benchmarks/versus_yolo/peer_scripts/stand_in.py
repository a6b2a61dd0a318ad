"""What Ultralytics needs before its import: the part of torchvision that it calls.

Of torchvision it uses one function, `ops.nms`. The wheel of torchvision that fits CPU torch is not on every index, and
another one raises at its import that an operator does not exist. So a module with OpenCV's greedy suppression stands
in for it: the same rule, in C++ too.
"""

import sys
import types

import cv2
import torch


def nms(boxes, scores, iou_threshold):
    """Keep the best box, drop those that overlap it by more than the threshold, go on with the next."""
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64)
    corners = boxes.double().numpy()
    corners[:, 2:] -= corners[:, :2]
    kept = cv2.dnn.NMSBoxes(corners, scores.float().numpy(), 0.0, float(iou_threshold))
    return torch.as_tensor(kept, dtype=torch.int64).reshape(-1)


def use():
    """Put the module where `import torchvision` finds it."""
    module = types.ModuleType("torchvision")
    module.ops = types.ModuleType("torchvision.ops")
    module.ops.nms = nms
    sys.modules.setdefault("torchvision", module)
    sys.modules.setdefault("torchvision.ops", module.ops)
