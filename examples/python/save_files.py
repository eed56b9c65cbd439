"""Estimate a clip and save it for other programs: python save_files.py SERVER CALIBRATION VIDEO..."""

import sys

import synpose

server, calibration, *videos = sys.argv[1:]
with synpose.Client(server) as client:
    poses = client.estimate(videos, calibration, skeleton="halpe26")

for name in ("walk.trc", "walk.c3d", "walk.bvh", "walk.glb"):  # OpenSim, biomechanics, animation, Blender
    for path in poses.save(name):
        print(path)
