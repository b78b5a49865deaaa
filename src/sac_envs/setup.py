from setuptools import find_packages, setup

package_name = "sac_envs"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "gymnasium", "mujoco"],
    zip_safe=False,
    maintainer="Franka SAC developers",
    maintainer_email="maintainers@franka-sac.example",
    description="Tasks for a Franka, their MuJoCo worlds and Gymnasium registration. No ROS.",
    license="Apache-2.0",
)
