"""How far knees and elbows bend, as a table and a picture: python joint_angles.py SERVER CALIBRATION VIDEO..."""

import sys

import pandas as pd

import synpose

server, calibration, *videos = sys.argv[1:]
with synpose.Client(server) as client:
    poses = client.estimate(videos, calibration)

angles = pd.DataFrame(poses.angles())  # degrees, one row a frame
print(angles.filter(regex="knee|elbow").describe().loc[["min", "max"]].round(0))

table = poses.to_dataframe()  # metres
print(table[["frame", "left_wrist_x", "left_wrist_y", "left_wrist_z", "left_wrist_sigma"]].head())

poses.plot().savefig("poses.png")
