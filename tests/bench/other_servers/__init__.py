"""Other model servers, each with one ONNX model ``x`` -> ``y``, as their documentation would have it.

Programs that run in an environment of their own (``make compare`` makes it): ``PROGRAM PORT MODEL SHAPE``, where SHAPE
is the input's, separated by commas. A run uses one core; onnxruntime's own threads were slower under load. What each
of them has of workers is what was fastest on two cores.
"""
