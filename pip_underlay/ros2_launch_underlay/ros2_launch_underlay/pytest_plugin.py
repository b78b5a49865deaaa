"""Let tests of launch files import ``launch`` and ``launch_ros`` where the real ones are absent."""

from ros2_launch_underlay import aliases

aliases.install()
