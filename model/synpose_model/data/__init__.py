"""What the networks are trained on: motions as joints, rendered images as trunk features, detections' errors."""
