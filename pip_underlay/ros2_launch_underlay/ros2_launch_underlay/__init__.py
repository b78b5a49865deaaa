"""A small stand-in for ``launch``, ``launch_ros`` and the ``ros2`` command, for hosts without ROS.

The code lives under this package's own name. :mod:`.aliases` makes it importable as ``launch`` and
``launch_ros``, and only where the real ones are absent.
"""
