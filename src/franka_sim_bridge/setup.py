from setuptools import find_packages, setup

setup(
    name="franka_sim_bridge",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"franka_sim_bridge": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/franka_sim_bridge"]),
        ("share/franka_sim_bridge", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["franka_sim_bridge = franka_sim_bridge.node:main"]},
)
