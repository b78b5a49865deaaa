from setuptools import find_packages, setup

setup(
    name="sac_actor",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"sac_actor": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sac_actor"]),
        ("share/sac_actor", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "actor = sac_actor.node:main",
            "evaluate = sac_actor.evaluate:main",
            "export_policy = sac_actor.export_policy:main",
            "operator = sac_actor.operator_console:main",
            "render = sac_actor.render:main",
            "robot_reset = sac_actor.robot_reset:main",
            "robot_setup = sac_actor.robot_setup:main",
            "status = sac_actor.status:main",
            "status_markers = sac_actor.status_markers:main",
            "watchdog = sac_actor.watchdog:main",
        ]
    },
)
