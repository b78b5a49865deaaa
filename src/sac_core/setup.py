from setuptools import find_packages, setup

package_name = "sac_core"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "safetensors"],
    zip_safe=False,
    maintainer="Franka SAC developers",
    maintainer_email="maintainers@franka-sac.example",
    description="Soft actor-critic and its data. No ROS, no simulator.",
    license="Apache-2.0",
    extras_require={"learner": ["torch"], "test": ["pytest", "hypothesis"]},
)
