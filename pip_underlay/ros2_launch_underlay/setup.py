"""Install the launch stand-in: its package, the ``ros2`` command and the pytest plugin."""

from setuptools import setup

PACKAGE = "ros2_launch_underlay"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=[PACKAGE],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools", "pyyaml"],
    zip_safe=False,  # the guardian is started from its file
    maintainer="Franka SAC developers",
    maintainer_email="maintainers@franka-sac.example",
    description="A small stand-in for launch, launch_ros, ros2 launch and ros2 run.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [f"ros2 = {PACKAGE}.command_line:main"],
        "pytest11": [f"{PACKAGE} = {PACKAGE}.pytest_plugin"],
    },
)
