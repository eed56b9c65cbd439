"""Synpose: synchronized multi-camera video of people in, 3D keypoints out."""
