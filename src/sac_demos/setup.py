from setuptools import find_packages, setup

setup(
    name="sac_demos",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"sac_demos": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sac_demos"]),
        ("share/sac_demos", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "bag_to_rlds = sac_demos.bag_to_rlds:main",
            "recorder = sac_demos.recorder:main",
            "recover = sac_demos.recover:main",
            "teleop_joy = sac_demos.teleop_joy:main",
            "teleop_keyboard = sac_demos.teleop_keyboard:main",
        ]
    },
)
