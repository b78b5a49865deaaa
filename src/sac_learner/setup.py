from setuptools import find_packages, setup

setup(
    name="sac_learner",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"sac_learner": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/sac_learner"]),
        ("share/sac_learner", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["learner = sac_learner.node:main"]},
)
