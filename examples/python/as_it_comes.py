"""Use each frame as soon as it is computed: python as_it_comes.py SERVER CALIBRATION VIDEO..."""

import sys

import synpose

server, calibration, *videos = sys.argv[1:]
with synpose.Client(server) as client, client.stream(videos, calibration, max_people=2) as stream:
    nose = stream.header.skeleton.joints.index("nose")
    for frame in stream:
        for person in frame.people:
            x, y, z = person.joints[nose]  # NaN where it cannot be known
            print(f"{frame.timestamp:6.3f} s  person {person.id}  nose at {x:.2f} {y:.2f} {z:.2f} m")
