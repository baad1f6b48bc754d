"""Detectors for the GenEval protocol: what stands where on an image, in which colour, and how surely.

The official detector (mmdet 2.x, CUDA only) cannot be installed beside current torch, so none of these is official
and every score carries its detector's name (``base.score_name``).
"""
