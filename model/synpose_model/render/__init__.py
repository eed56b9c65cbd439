"""Synthetic people in front of synthetic cameras, with exact 3D truth.

`clips.py` is the entry point; read `retarget.py` and `stage.py` next. Needs the packages anny, moderngl and OpenEXR
and an EGL driver (Mesa's llvmpipe will do); nothing outside this package imports them.
"""
