"""Demonstrations: teleoperation, recorded as rosbags, converted to RLDS."""
