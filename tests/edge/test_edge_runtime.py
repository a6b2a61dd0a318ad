from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from shelfgap_edge.contract import FORMAT_VERSION
from shelfgap_edge.errors import BundleError, FrameError
from shelfgap_edge.runtime import Detector

# The test model sees 64x64 pixels: a box edge is right to about one of them, here 2 frame pixels or 1.5.
EDGE_PX = 2.0


@pytest.fixture
def detector(bundle):
    return Detector.load(bundle)


def test_an_array_and_a_jpeg_give_the_same_box(detector, bright_square, to_jpeg):
    for frame in (bright_square(), to_jpeg(bright_square())):
        found = detector.detect(frame)
        assert found.class_names(detector.manifest.classes) == ["gap"]
        assert found.boxes_xyxy[0] == pytest.approx([32, 24, 64, 60], abs=EDGE_PX)
        assert found.scores[0] == pytest.approx(240 / 255, abs=0.02)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_buffers_are_bytes_too(detector, bright_square, to_jpeg, kind):
    assert len(detector.detect(kind(to_jpeg(bright_square())))) == 1


@pytest.mark.parametrize("size", [(48, 48), (96, 128), (333, 517), (700, 1003)])
@pytest.mark.parametrize("as_jpeg", [False, True])
def test_boxes_are_in_pixels_of_frames_of_any_size(detector, bright_square, to_jpeg, size, as_jpeg):
    height, width = size
    box = (width // 4, height // 3, width * 3 // 4, height * 2 // 3)
    pixels = bright_square(size, box)
    found = detector.detect(to_jpeg(pixels) if as_jpeg else pixels)
    tolerance = np.array([width, height, width, height]) / 64 * 1.05
    assert (np.abs(found.boxes_xyxy[0] - box) <= tolerance).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_pixels_of_the_displayed_frame(detector, bright_square, to_jpeg, orientation):
    from shelfgap_edge.exif import upright_box

    box = (80, 30, 130, 50)
    expected = upright_box(box, (160, 240), orientation)
    found = detector.detect(to_jpeg(bright_square((160, 240), box), orientation))
    assert found.boxes_xyxy[0] == pytest.approx(expected, abs=4)


def test_thresholds_of_the_bundle_or_of_the_call(detector, bright_square):
    frame = bright_square()
    assert len(detector.detect(frame)) == 1
    assert len(detector.detect(frame, score_thresholds=0)) == 2
    assert len(detector.detect(frame, score_thresholds=1)) == 0
    assert len(detector.detect(frame, score_thresholds={"low": 0.01})) == 2
    with pytest.raises(ValueError, match="no class occluder"):
        detector.detect(frame, score_thresholds={"occluder": 0.5})


def test_a_dark_frame_has_no_gap(detector):
    assert len(detector.detect(np.zeros((50, 50, 3), np.uint8))) == 0


def test_frames_are_not_changed(detector, bright_square):
    frame = bright_square((300, 400))
    before = frame.copy()
    detector.detect(frame)
    assert (frame == before).all()


def test_bad_frames_are_refused_and_the_detector_goes_on(detector, bright_square):
    with pytest.raises(FrameError, match="not a JPEG"):
        detector.detect(b"text")
    with pytest.raises(FrameError, match="got dtype float64"):
        detector.detect(np.zeros((4, 4, 3)))
    with pytest.raises(FrameError, match="got str"):
        detector.detect("shelf.jpg")
    assert len(detector.detect(bright_square())) == 1


def test_stages_chain_to_what_detect_gives(detector, bright_square, to_jpeg):
    value = jpeg = to_jpeg(bright_square())
    for stage in detector.stages().values():
        value = stage(value)
    assert list(detector.stages()) == ["decode", "preprocess", "inference", "postprocess"]
    assert (value.boxes_xyxy == detector.detect(jpeg).boxes_xyxy).all()


def test_the_precision_must_be_there(tmp_path, write_bundle):
    bundle = write_bundle(tmp_path / "b", precisions=("fp32",), default_precision="fp32")
    assert Detector.load(bundle, precision="fp32", threads=2).manifest.default_precision == "fp32"
    with pytest.raises(BundleError, match=r"has no model\.int8\.onnx; it offers fp32"):
        Detector.load(bundle, precision="int8")
    with pytest.raises(BundleError, match="precision must be int8, fp32 or auto, got 'int4'"):
        Detector.load(bundle, precision="int4")
    with pytest.raises(ValueError, match="threads must be 1 or more"):
        Detector.load(bundle, threads=0)


def test_a_newer_format_is_refused(bundle, reseal):
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace(f'"format_version": "{FORMAT_VERSION}"', '"format_version": "2.0"'))
    reseal(bundle)
    with pytest.raises(BundleError, match=r"format_version '2\.0' is not known here"):
        Detector.load(bundle)


def test_a_bundle_of_an_older_minor_format_runs(bundle, reseal, bright_square):
    path = bundle / "manifest.json"
    older = json.loads(path.read_text()) | {"format_version": "1.0"}
    del older["device_class"]
    path.write_text(json.dumps(older))
    reseal(bundle)
    detector = Detector.load(bundle)
    assert detector.manifest.device_class is None
    assert len(detector.detect(bright_square())) == 1
    path.write_text(json.dumps(older | {"device_class": 7}))
    reseal(bundle)
    with pytest.raises(BundleError, match="device_class must be a string or null, got 7"):
        Detector.load(bundle)


def test_a_bundle_without_a_readable_manifest_is_refused(bundle, reseal):
    (bundle / "manifest.json").write_bytes(b"\xff\xfe")
    reseal(bundle)
    with pytest.raises(BundleError, match=r"manifest\.json is not UTF-8"):
        Detector.load(bundle)
    (bundle / "manifest.json").unlink()
    reseal(bundle)
    with pytest.raises(BundleError, match=r"no manifest\.json in it"):
        Detector.load(bundle)


def test_the_verified_bytes_are_the_ones_that_run(bundle, monkeypatch, bright_square):
    from shelfgap_edge import admission

    def swap_after_check(files, where):
        real_check(files, where)
        (bundle / "model.int8.onnx").write_bytes(b"swapped in after the check")

    real_check = admission.check_sums
    monkeypatch.setattr(admission, "check_sums", swap_after_check)
    assert len(Detector.load(bundle).detect(bright_square())) == 1


def refused(model, manifest):
    with pytest.raises(BundleError) as caught:
        Detector(manifest, model if isinstance(model, bytes) else model.SerializeToString())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_that_is_none_is_refused(a_manifest, tmp_path):
    assert "not a model that onnxruntime" in refused(b"garbage", a_manifest())
    with pytest.raises(BundleError, match=r"absent\.onnx: the model cannot be read \(No such file or directory\)"):
        Detector(a_manifest(), tmp_path / "absent.onnx")


def test_a_model_may_come_from_a_path(a_manifest, model, tmp_path, bright_square):
    onnx.save(model(), tmp_path / "m.onnx")
    assert len(Detector(a_manifest(), tmp_path / "m.onnx").detect(bright_square())) == 1


def test_a_model_of_another_signature_is_refused(a_manifest, model):
    renamed = model()
    renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "image"
    assert "one input 'frame', got ['image']" in refused(renamed, a_manifest())

    fixed = model()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 480
    assert "with free height and width" in refused(fixed, a_manifest())

    floating = model()
    floating.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    floating.graph.node.remove(next(node for node in floating.graph.node if node.op_type == "Cast"))
    floating.graph.node[0].output[0] = "float"
    assert "got float32 [None, None, 3]" in refused(floating, a_manifest())

    lacking = model()
    del lacking.graph.output[1]
    assert "no output 'scores'" in refused(lacking, a_manifest())

    typed = model()
    del typed.graph.output[2]
    typed.graph.node[-1].output[0] = "ids"
    typed.graph.node.append(helper.make_node("Cast", ["ids"], ["class_ids"], to=TensorProto.INT32))
    typed.graph.output.append(helper.make_tensor_value_info("class_ids", TensorProto.INT32, [2]))
    assert "'class_ids' must be int64 of rank 1, got tensor(int32)" in refused(typed, a_manifest())


def test_a_model_whose_whole_frames_are_no_sizes_is_refused(a_manifest, model):
    odd = model()
    helper.set_model_props(odd, {"whole_frames": "480x640,960x1280"})
    assert "whole_frames must be sizes like 480x640, got '480x640,960x1280'" in refused(odd, a_manifest())


def test_a_model_with_outputs_of_unequal_length_is_refused(a_manifest, model, bright_square):
    odd = model()
    odd.graph.node[-1].input[0] = "rows"  # a constant of one number
    for output in odd.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = f"count_{output.name}"
    detector = Detector(a_manifest(), odd.SerializeToString())
    with pytest.raises(BundleError, match=r"expected \(K, 4\), \(K,\), \(K,\)"):
        detector.detect(bright_square())


def test_a_model_that_fails_at_work_is_reported(a_manifest, model, bright_square):
    failing = model()
    concat = next(node for node in failing.graph.node if node.output[0] == "scores")
    concat.input[0] = "row_peak"
    # Looks up a table of 64 by the height of the frame: out of bounds for higher frames only.
    failing.graph.node.insert(0, helper.make_node("Shape", ["frame"], ["height"], end=1))
    failing.graph.node.insert(1, helper.make_node("Gather", ["first", "height"], ["row_peak"]))
    detector = Detector(a_manifest(), failing.SerializeToString())
    assert len(detector.detect(bright_square((50, 60), (10, 10, 30, 30)))) == 1
    with pytest.raises(BundleError, match=r"the model failed on a frame of shape \(96, 128, 3\)") as caught:
        detector.detect(bright_square())
    assert "\n" not in str(caught.value)
