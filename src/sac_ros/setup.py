from setuptools import find_packages, setup

setup(
    name="sac_ros",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"sac_ros": ["py.typed", "fast_dds.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sac_ros"]),
        ("share/sac_ros", ["package.xml"]),
    ],
    zip_safe=False,
)
